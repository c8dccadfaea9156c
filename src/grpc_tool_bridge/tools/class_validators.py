"""What reads the instances of one class, compiled when it is first wanted.

The rules that need it are what it is compiled of. So ``checks``, which knows them all, hands the compiler in here.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Reader = Callable[[Any], Any]

_MAX_KEPT = 1_024


class ClassValidators:
    """Compiles the reader of each class once."""

    def __init__(self) -> None:
        self.of: Callable[[Any], Reader] = _no_compiler

    def compile_by(self, compile_: Callable[[Any], Reader]) -> None:
        """Takes the compiler, which makes the reader of a class."""
        self.of = lru_cache(maxsize=_MAX_KEPT)(compile_)


def _no_compiler(cls: Any) -> Reader:
    raise RuntimeError(f"what reads a {cls.__qualname__} is compiled by tools.checks, which is not imported")


CLASSES = ClassValidators()
