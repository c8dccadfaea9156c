"""Where the lines of an audit trail go."""

from typing import Any, NamedTuple, Protocol

from grpc_tool_bridge.auth.audit.files import AuditFile, Rotation
from grpc_tool_bridge.auth.audit.outlets import Standard
from grpc_tool_bridge.auth.audit.syslog import Syslog, read_syslog
from grpc_tool_bridge.auth.audit.tails import Tail
from grpc_tool_bridge.errors import ValidationError

A_SINK = (
    "file:/absolute/path, stdout, syslog, syslog:/path/of/its/socket, syslog:udp://HOST:PORT or syslog:tcp://HOST:PORT"
)


class Sink(Protocol):
    """Takes the lines of a trail; used by one thread. What is added stays until it is written."""

    # Characters of the arguments and results of one line.
    most_value_chars: int

    def open(self) -> Tail | None:
        """Opens it; returns how what is there ends, None if there is nothing or it cannot be read.

        Raises:
            OSError: It cannot be opened.
            ToolBridgeError: Another process has it.
        """

    def add(self, lines: list[bytes]) -> None:
        """Takes lines."""

    def flush(self) -> None:
        """Writes what was added and is not written; raises OSError, and what is left stays."""

    def sync(self) -> None:
        """Waits until what is written is on the disk; raises OSError."""

    def close(self) -> None:
        """Closes it."""

    @property
    def is_due(self) -> bool:
        """Whether it has to begin another file."""

    def rotate(self) -> str:
        """Begins another file after all is written; returns the name of the one that is over. Raises OSError."""

    def expired(self) -> list[tuple[str, Tail | None]]:
        """Returns the names of the files that are to be removed, and how they end."""

    def remove(self, name: str) -> None:
        """Removes one of them; raises OSError."""


class Target(NamedTuple):
    """A setting ``audit`` that was read.

    Attributes:
        kind: "file", "stdout" or "syslog".
        where: The path of the file, or where syslog listens.
    """

    kind: str
    where: Any = None


def read_target(given: str) -> Target:
    """Reads the setting ``audit``.

    Raises:
        ValidationError: It is no sink.
    """
    kind, colon, rest = given.partition(":")
    if kind == "file" and rest.startswith("/"):
        return Target("file", rest)
    if given == "stdout":
        return Target("stdout")
    if kind == "syslog" and (rest or not colon):
        where = read_syslog(rest)
        if where is not None:
            return Target("syslog", where)
    raise ValidationError(f"audit is {given!r:.200}, and has to be {A_SINK}")


def make_sink(target: Target, rotation: Rotation) -> Sink:
    """Makes a sink, which is not open yet.

    Args:
        target: From ``read_target``.
        rotation: When a file begins anew, and how many are kept.
    """
    if target.kind == "file":
        return AuditFile(target.where, rotation)
    return Standard() if target.kind == "stdout" else Syslog(target.where)
