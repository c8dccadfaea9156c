"""Which tools of another server are imported, and as what."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS


@dataclass(frozen=True, slots=True)
class Naming:
    """Which tools are imported, and as what.

    Attributes:
        server: The server's name.
        prefix: Begins the name of each tool, followed by a dot; empty: nothing does.
        include: Patterns of the names at the server, such as ``get_*``; empty: all.
        exclude: Patterns of those that are left out.
    """

    server: str
    prefix: str
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def chooses(self, name: str) -> bool:
        """Returns whether a tool of the server is imported."""
        included = not self.include or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude)

    def name_of(self, name: str) -> str:
        """Returns the name of a tool at the bridge.

        Raises:
            ValidationError: It is too long, or nothing is left of it.
        """
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        made = f"{self.prefix}.{plain}" if self.prefix else plain
        if not plain or len(made) > MAX_TOOL_NAME_CHARS:
            raise ValidationError(f"a name has 1 to {MAX_TOOL_NAME_CHARS} characters with its prefix; shorten that")
        return made


class Named(Protocol):
    """The settings of a server: its name, and where it is, for texts."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def where(self) -> str: ...  # noqa: D102


N = TypeVar("N", bound=Named)


def distinct(configs: Iterable[N], kind: str, example: str) -> list[N]:
    """Checks that no two servers have the same name.

    Args:
        configs: The settings of each.
        kind: What they are, in the plural.
        example: How one is named on the command line.

    Raises:
        ValidationError: Two of them have; the text says how to name one.
    """
    found: dict[str, N] = {}
    for config in configs:
        if config.name in found:
            raise ValidationError(
                f"two {kind} are called {config.name!r} ({found[config.name].where} and {config.where}); name one of "
                f"them, such as {example}"
            )
        found[config.name] = config
    return list(found.values())
