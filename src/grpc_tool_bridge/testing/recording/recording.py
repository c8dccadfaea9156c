"""A recording that was read: its sessions, and in each its calls and what they led to."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing.recording import entries
from grpc_tool_bridge.testing.recording.lines import MAX_LINE_BYTES, number_text, read_call, read_session, values_of
from grpc_tool_bridge.testing.recording.messages import UnreadableError, read_message
from grpc_tool_bridge.testing.recording.settling import Line, RecordingError, read_lines

# Bytes of one large value that are read.
MAX_VALUE_BYTES = 16 * MAX_LINE_BYTES

_EVENTS = (
    entries.ANSWER, entries.CHUNK, entries.ERROR, entries.END, entries.PROGRESS, entries.LOG, entries.MODEL,
)  # fmt: skip
_ENDS = frozenset({"done", "cancelled"})


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event of a call.

    Attributes:
        kind: "answer", "chunk", "error", "end", "progress", "log" or "model".
        content: What the line holds of it.
        exact: The values that the line does not hold.
        at: Microseconds since the recording began; None if that is not known.
        place: The number of its line.
    """

    kind: str
    content: Any
    exact: Mapping[str, Any]
    at: int | None
    place: int


@dataclass(eq=False, slots=True)
class RecordedCall:
    """One call.

    Attributes:
        session: The number of its session.
        number: Its place among the session's calls; a nested call has that of its outer call before.
        method: The method, such as "ExecuteTool".
        request: The request as JSON.
        exact: The values of the request that the line does not hold.
        at: When it began, as for an event.
        place: The number of its line.
        events: What it has led to.
    """

    session: int
    number: tuple[int, ...]
    method: str
    request: dict[str, Any]
    exact: Mapping[str, Any]
    at: int | None
    place: int
    events: list[RecordedEvent] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name} of session-{self.session} (line {self.place})"

    @property
    def name(self) -> str:
        """Its id, such as "call-3"."""
        return number_text(self.number)

    @property
    def is_nested(self) -> bool:
        """Whether a tool or an agent made it."""
        return len(self.number) > 1

    @property
    def end(self) -> RecordedEvent | None:
        """The event that ended it; None if the recording ends before."""
        last = self.events[-1] if self.events else None
        return last if last is not None and last.kind in entries.LAST else None


@dataclass(eq=False, slots=True)
class RecordedSession:
    """One session.

    Attributes:
        number: From 1.
        opened: The request that opened it, as JSON.
        tools: The specs of its tools as JSON, by id.
        calls: Its calls, in order.
    """

    number: int
    opened: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[RecordedCall] = field(default_factory=list)

    def __str__(self) -> str:
        return f"session-{self.number}"


class Recording:
    """A recording that was read.

    Args:
        path: The file; that of a hub that was killed can be read as well.

    Attributes:
        path: As given.
        sessions: The sessions, in order.

    Raises:
        RecordingError: It is not a recording, of another version, or damaged; the text says which line is wrong.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._sessions: dict[int, RecordedSession] = {}
        self._calls: dict[tuple[int, tuple[int, ...]], RecordedCall] = {}
        _, lines = read_lines(self.path)
        for line in lines:
            try:
                self._add(line)
            except UnreadableError as error:
                raise RecordingError(f"{self.path}, line {line.place}: {error}") from None
        self.sessions = list(self._sessions.values())

    def calls(self) -> Iterator[RecordedCall]:
        """Yields the calls that clients have made, without those of tools and agents."""
        for session in self.sessions:
            yield from (call for call in session.calls if not call.is_nested)

    def model_answers(self) -> list[str]:
        """Returns what the models of all agents have answered, in order: the script of a ``ScriptedLM``."""
        return [
            text
            for session in self.sessions
            for call in session.calls
            for event in call.events
            if event.kind == entries.MODEL
            for text in event.content.get("answers", ())
        ]

    def message(self, kind: Any, content: Any, exact: Mapping[str, Any]) -> Any:
        """Returns a message of the recording.

        Raises:
            RecordingError: It cannot be read.
        """
        try:
            return read_message(kind, content, exact, self._load)
        except UnreadableError as error:
            raise RecordingError(f"{self.path}: {error}") from None

    def _load(self, name: str) -> bytes:
        file = Path(values_of(self.path)) / f"{name}.json"
        try:
            if file.stat().st_size > MAX_VALUE_BYTES:
                raise UnreadableError(f"the value in {file} is larger than {MAX_VALUE_BYTES:,} bytes")
            return file.read_bytes()
        except OSError as error:
            raise UnreadableError(
                f"the value in {file} cannot be read: {error.strerror}; keep that directory beside the recording"
            ) from None

    # ------------------------------------------------------------------------------------------------------ reading

    def _add(self, line: Line) -> None:
        content = line.content
        number = read_session(content.get("session"))
        if number is None:
            raise UnreadableError(f"it names no session, but {content.get('session')!r:.40}")
        session = self._sessions.setdefault(number, RecordedSession(number))
        if "call" in content:
            self._add_to_call(session, line)
        elif entries.OPENED in content:
            session.opened = _object(content, entries.OPENED)
        elif entries.TOOL in content:
            spec = _object(content, entries.TOOL)
            session.tools[str(spec.get("tool_id") or spec.get("name"))] = spec
        elif entries.ENDED not in content:
            raise _unknown(content)

    def _add_to_call(self, session: RecordedSession, line: Line) -> None:
        content = line.content
        number = read_call(content["call"])
        if number is None:
            raise UnreadableError(f"{content['call']!r:.40} is not the id of a call")
        exact = _object(content, "exact") if "exact" in content else {}
        key = (session.number, number)
        if "method" in content:
            if key in self._calls:
                raise UnreadableError(f"{content['call']} begins twice")
            method = content["method"]
            if not isinstance(method, str) or method not in METHODS:
                raise UnreadableError(f"there is no method {method!r:.60}")
            call = RecordedCall(session.number, number, method, _object(content, "request"), exact, line.at, line.place)
            self._calls[key] = call
            session.calls.append(call)
            return
        found = self._calls.get(key)
        if found is None:
            raise UnreadableError(f"{content['call']} has no line before that says what was called")
        if found.end is not None and entries.MODEL not in content:
            raise UnreadableError(f"{content['call']} goes on after its end")
        kind = next((kind for kind in _EVENTS if kind in content), None)
        if kind is None:
            raise _unknown(content)
        held = content[kind] if kind == entries.END else _object(content, kind)
        if kind == entries.END and not (isinstance(held, str) and held in _ENDS):
            raise UnreadableError(f"a call ends with {' or '.join(sorted(_ENDS))}, not with {held!r:.40}")
        found.events.append(RecordedEvent(kind, held, exact, line.at, line.place))


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    held = content.get(name)
    if not isinstance(held, dict):
        raise UnreadableError(f"{name} must be an object, not {type(held).__name__}")
    return held


def _unknown(content: Mapping[str, Any]) -> UnreadableError:
    rest = ", ".join(sorted(content.keys() - {"session", "call", "within", "exact"}))
    return UnreadableError(f"it holds no event that this version knows, but {rest[:100] or 'nothing'}")
