"""What the hub hands to the recorder's thread: one entry for each event, in the order of time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

# Kinds of entries, which are also the names in the lines.
OPENED, TOOL, ENDED = "opened", "tool", "ended"
CALL, ANSWER, CHUNK, ERROR, END = "call", "answer", "chunk", "error", "end"
PROGRESS, LOG, MODEL = "progress", "log", "model"

# After one of these, nothing follows in a call.
LAST = frozenset({ANSWER, ERROR, END})


@dataclass(eq=False, slots=True)
class SessionLog:
    """One session while it is recorded.

    Attributes:
        number: From 1, in the order in which the sessions were seen.
        session_id: Its id at the hub.
        calls: Number of its calls so far.
        tools: The ids of its tools that are recorded.
        state: For the recorder's thread.
    """

    number: int
    session_id: str
    calls: int = 0
    tools: set[str] = field(default_factory=set)
    state: Any = None


@dataclass(eq=False, slots=True)
class CallLog:
    """One call while it is recorded.

    Attributes:
        session: Its session.
        number: Its place among the calls of the session; a call that a tool makes has that of its outer call before.
        method: The method, such as "ExecuteTool".
        nested: Number of calls that it has made so far.
    """

    session: SessionLog
    number: tuple[int, ...]
    method: str
    nested: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One event.

    Attributes:
        at: Microseconds since the recording began.
        kind: What has happened.
        session: The session.
        call: The call; None: of the session.
        type: The class of the message; None if ``data`` is JSON.
        data: The message's bytes, so that nothing changes it any more.
        names: The tools' parameters by place, such as ``{"args[0]": "a"}``.
        secret: Whether the value is that of a secret variable.
    """

    at: int
    kind: str
    session: SessionLog
    call: CallLog | None
    type: type[Message] | None
    data: Any
    names: Mapping[str, str] = field(default_factory=dict)
    secret: bool = False

    @property
    def size(self) -> int:
        """Bytes that it holds, roughly."""
        return len(self.data) if isinstance(self.data, bytes) else len(str(self.data))

    def message(self) -> Any:
        """Returns the message, or the JSON."""
        return self.data if self.type is None else self.type.FromString(self.data)
