"""The targets, and the inputs that are kept for each: ``corpus/TARGET/NAME``."""

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fuzz import targets

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """One target.

    Attributes:
        name: Its module's.
        fuzz: Reads any bytes.
        refusals: What it may raise.
    """

    name: str
    fuzz: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...]

    @property
    def folder(self) -> Path:
        """Where its inputs are."""
        return CORPUS / self.name

    def inputs(self) -> list[Path]:
        """Lists its inputs."""
        return sorted(path for path in self.folder.glob("*") if path.is_file())

    def run(self, data: bytes) -> None:
        """Gives it bytes; raises what is a fault."""
        with suppress(*self.refusals):
            self.fuzz(data)


def names() -> list[str]:
    """Lists the names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def target(name: str) -> Target:
    """Imports a target."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.fuzz, module.REFUSALS)
