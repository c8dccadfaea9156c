"""What the lease of a hub tells the others of it."""

import json
import logging
from dataclasses import asdict, dataclass, fields
from typing import Any

from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# Of the format; a hub ignores fields that it does not know, and all but the state in a newer one.
VERSION = 1

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


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "address": str,
    "http_address": str,
    "version": str,
    "started": (int, float),
    "room": int,
    "sessions": int,
    "reserved": int,
    "is_draining": bool,
    "closed": str,
}
assert {field.name for field in fields(HubRecord)} == {*_KINDS, "incarnation", "sequence", "is_newer"}  # noqa: S101


def decoded(incarnation: str, data: bytes, sequence: int) -> HubRecord:
    """Reads a message of a lease; what is not readable is a hub of which only the incarnation is known.

    Args:
        incarnation: From the subject.
        data: The payload.
        sequence: Of the message.
    """
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        _log.warning("the lease of hub %s cannot be read; the hub is left alone", incarnation)
        return HubRecord(incarnation, sequence=sequence, is_newer=True)
    version = found.get("format")
    if not isinstance(version, int) or version > VERSION:
        _log.warning(
            "the lease of hub %s has format %s, and this hub knows %d; update this hub", incarnation, version, VERSION
        )
        return HubRecord(incarnation, closed=str(found.get("closed") or ""), sequence=sequence, is_newer=True)
    known: dict[str, Any] = {
        name: found[name] for name, kind in _KINDS.items() if name in found and isinstance(found[name], kind)
    }
    return HubRecord(incarnation, sequence=sequence, **known)
