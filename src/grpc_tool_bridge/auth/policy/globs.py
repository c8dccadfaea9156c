"""Sets of globs in which a text is found without looking at each of them.

``*`` stands for any characters, also none and also dots; ``?`` for one character; all else for itself.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")

# Longer patterns, and those with more stars, are refused where they are read.
MAX_GLOB_CHARS = 256
MAX_STARS = 8


class GlobMap(Generic[T]):
    """Values by globs.

    A glob without wildcards, and one whose only wildcard is a star at an end, is found by a few look-ups, however many
    there are. The others are tried in order.

    Args:
        items: Each a glob and its value; of several values of one glob the first counts.
    """

    __slots__ = ("_any", "_exact", "_others", "_prefixes", "_suffixes")

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._any: list[T] = []
        self._exact: dict[str, T] = {}
        # By length.
        self._prefixes: dict[int, dict[str, T]] = {}
        self._suffixes: dict[int, dict[str, T]] = {}
        self._others: dict[str, T] = {}
        for glob, value in items:
            self._add(glob, value)

    def _add(self, glob: str, value: T) -> None:
        begin, end = glob[:-1], glob[1:]
        if glob == "*":
            self._any.append(value)
        elif is_plain(glob):
            self._exact.setdefault(glob, value)
        elif glob.endswith("*") and is_plain(begin):
            self._prefixes.setdefault(len(begin), {}).setdefault(begin, value)
        elif glob.startswith("*") and is_plain(end):
            self._suffixes.setdefault(len(end), {}).setdefault(end, value)
        else:
            self._others.setdefault(glob, value)

    def __bool__(self) -> bool:
        return bool(self._any or self._exact or self._prefixes or self._suffixes or self._others)

    def find(self, text: str) -> T | None:
        """Returns the value of a glob that matches, the most exact kind first; None if none does."""
        return next(self.all(text), None)

    def all(self, text: str) -> Iterator[T]:
        """Yields the values of all globs that match."""
        if text in self._exact:
            yield self._exact[text]
        for size, values in self._prefixes.items():
            if len(text) >= size and text[:size] in values:
                yield values[text[:size]]
        for size, values in self._suffixes.items():
            if len(text) >= size and text[len(text) - size :] in values:
                yield values[text[len(text) - size :]]
        for glob, value in self._others.items():
            if matches(glob, text):
                yield value
        yield from self._any


def is_plain(glob: str) -> bool:
    """Returns whether a glob has no wildcards."""
    return "*" not in glob and "?" not in glob


def matches(glob: str, text: str) -> bool:
    """Returns whether a glob matches all of a text."""
    return _pattern(glob).fullmatch(text) is not None


@lru_cache(maxsize=4_096)
def _pattern(glob: str) -> re.Pattern[str]:
    parts = re.split(r"\*+", glob)
    literal = [re.escape(part).replace(r"\?", ".") for part in parts]
    # Each part is taken where it first fits, for good, so that no text takes long.
    middle = "".join(f"(?>.*?{part})" for part in literal[1:-1])
    end = f".*{literal[-1]}" if len(literal) > 1 else ""
    return re.compile(literal[0] + middle + end, re.DOTALL)
