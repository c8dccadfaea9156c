"""What the lease of a hub tells the others of it."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# Of the format; a hub ignores fields that it does not know, and all but the state in a newer one.
VERSION = 1

# Of one that is read. Who may write to the store may write anything there, and what it says is shown to people.
MAX_BYTES = 16 * 1024
MAX_CHARS = 256
_MAX_COUNT = 2**31 - 1
_MAX_REVISION = 2**62
# The last second that a time of protobuf can tell.
_MAX_SECONDS = 253_402_300_799

_log = ThrottledLog(logging.getLogger(__name__))


@dataclass(frozen=True, slots=True)
class HubRecord:
    """A hub as its lease tells of it, for one life of it.

    Attributes:
        incarnation: The random id of that life.
        name: The hub's name, which it keeps over its lives.
        address: Where it is reached over gRPC; empty: nowhere yet.
        http_address: Likewise over HTTP.
        version: Of the package there.
        started: When that life began, in seconds since 1970.
        room: Calls that its own workers could take at once.
        sessions: How many sessions it owns.
        reserved: Revisions that it may have given out; who takes a session of it goes on above.
        is_draining: Whether it is about to stop, and wants nothing new.
        closed: Why that life is over, so that its sessions may be taken; empty: it is not.
        sequence: Of the message in the stream; 0: it is not stored.
        is_newer: Whether a newer version wrote it, so that only the incarnation and ``closed`` are known.
    """

    incarnation: str
    name: str = ""
    address: str = ""
    http_address: str = ""
    version: str = ""
    started: float = 0.0
    room: int = 0
    sessions: int = 0
    reserved: int = 0
    is_draining: bool = False
    closed: str = ""
    sequence: int = 0
    is_newer: bool = False

    def encoded(self) -> bytes:
        """Returns the payload of its message."""
        told = asdict(self)
        del told["sequence"], told["is_newer"]
        return json.dumps({"format": VERSION, **told}, separators=(",", ":")).encode()


def _text(found: Any) -> str:
    """Returns a text as it may be shown anywhere."""
    if not isinstance(found, str):
        return ""
    text = found[:MAX_CHARS]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _count(found: Any, most: int = _MAX_COUNT) -> int:
    return min(max(0, found), most) if isinstance(found, int) and not isinstance(found, bool) else 0


def _seconds(found: Any) -> float:
    is_time = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return found if is_time and 0 <= found <= _MAX_SECONDS else 0.0


# What makes a field of what was read, whatever that is.
_READ: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "address": _text,
    "http_address": _text,
    "version": _text,
    "started": _seconds,
    "room": _count,
    "sessions": _count,
    "reserved": lambda found: _count(found, _MAX_REVISION),
    "is_draining": lambda found: found is True,
    "closed": _text,
}
assert {field.name for field in fields(HubRecord)} == {*_READ, "incarnation", "sequence", "is_newer"}  # noqa: S101


def decoded(incarnation: str, data: bytes, sequence: int) -> HubRecord:
    """Reads a message of a lease; what is not readable is a hub of which only the incarnation is known.

    Args:
        incarnation: From the subject.
        data: The payload.
        sequence: Of the message.
    """
    found = _object_in(data)
    if found is None:
        _log.warning("the lease of hub %s cannot be read; the hub is left alone", incarnation)
        return HubRecord(incarnation, sequence=sequence, is_newer=True)
    version = found.get("format")
    if not isinstance(version, int) or version > VERSION:
        _log.warning(
            "the lease of hub %s has format %.20s, and this hub knows %d; update this hub",
            incarnation,
            _text(str(version)),
            VERSION,
        )
        return HubRecord(incarnation, closed=_text(found.get("closed")), sequence=sequence, is_newer=True)
    known = {name: read(found[name]) for name, read in _READ.items() if name in found}
    return HubRecord(incarnation, sequence=sequence, **known)


def _object_in(data: bytes) -> dict[str, Any] | None:
    if len(data) > MAX_BYTES:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
