"""What can fill a hub, as loads of its links: each sends the next request as soon as one was answered."""

from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.raw_link import RawLink, reply_of
from benchmarks.work import CHUNK_BYTES, WrongAnswerError
from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

# Of calls, fewer than a session may have.
WIDTH = 64
_STREAMS = 4
_LONG = 1_000
_LARGE = 100
_WATCHERS = 50
_SUM = 5


class Load(Protocol):
    """The load of one link.

    Attributes:
        count: How much the hub has done.
    """

    count: int

    async def begin(self, link: RawLink, session_id: str) -> None:
        """Makes the first calls, in a session that is open."""

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """Checks an answer, and makes the next call."""


class Calls:
    """Calls of ``add``, so many at once; each is counted."""

    def __init__(self) -> None:
        self.count = 0
        self._payload = b""
        self._result = serialize_value(_SUM).value

    async def begin(self, link: RawLink, session_id: str) -> None:
        """See ``Load``."""
        request = pb.ToolCallRequest(session_id=session_id, tool_id="add", args=_values(2, _SUM - 2))
        self._payload = request.SerializeToString()
        for _ in range(WIDTH):
            link.call("ExecuteTool", self._payload)

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """See ``Load``."""
        answer = pb.ToolCallResponse.FromString(reply_of(envelope))
        if answer.result.value != self._result:
            raise WrongAnswerError(f"add answered with {answer}")
        self.count += 1
        link.call("ExecuteTool", self._payload)


class Streams:
    """Streams, some at once.

    Args:
        tool: The tool that streams.
        args: Its arguments.
        chunks: How many chunks come of one stream, if each is to come.
        counted: Of a chunk, 1 or 0.
        each: What is counted; None: the streams that ended.
        events: Whether to ask for events too.
    """

    def __init__(
        self,
        tool: str,
        *args: Any,
        chunks: int | None,
        width: int = _STREAMS,
        each: Callable[[pb.ToolStreamChunk], int] | None = None,
        events: bool = False,
    ) -> None:
        self.count = 0
        self._request = pb.ToolStreamRequest(tool_id=tool, args=_values(*args))
        self._request.config.include_events = events
        self._chunks = chunks
        self._width = width
        self._each = each
        self._payload = b""
        self._found: dict[int, int] = {}

    async def begin(self, link: RawLink, session_id: str) -> None:
        """See ``Load``."""
        self._request.session_id = session_id
        self._payload = self._request.SerializeToString()
        for _ in range(self._width):
            self._open(link)

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """See ``Load``."""
        kind = envelope.WhichOneof("kind")
        if kind == "chunk":
            self._take_chunk(envelope)
        elif kind == "end" and not envelope.end.code:
            found = self._found.pop(envelope.id)
            if self._chunks not in (None, found):
                raise WrongAnswerError(f"a stream had {found} chunks instead of {self._chunks}")
            self.count += self._each is None
            self._open(link)
        elif kind != "part":
            raise WrongAnswerError(f"a stream had the envelope {envelope}")

    def _open(self, link: RawLink) -> None:
        self._found[link.call("StreamTool", self._payload)] = 0

    def _take_chunk(self, envelope: pb.Envelope) -> None:
        chunk = pb.ToolStreamChunk.FromString(envelope.chunk)
        if chunk.HasField("error"):
            raise WrongAnswerError(f"a stream failed: {chunk.error}")
        if self._each is not None:
            self.count += self._each(chunk)
        self._found[envelope.id] += chunk.HasField("data")


class Updates:
    """A variable that is set again and again, and its watchers; each update that reaches one is counted."""

    def __init__(self) -> None:
        self.count = 0
        self._set = pb.SetVariableRequest(variable_name="n", create_if_missing=True)
        self._number = 0
        self._watches: set[int] = set()

    async def begin(self, link: RawLink, session_id: str) -> None:
        """See ``Load``."""
        self._set.session_id = session_id
        watch = pb.WatchVariablesRequest(session_id=session_id, variable_names=["n"]).SerializeToString()
        self._watches = {link.call("WatchSessionVariables", watch) for _ in range(_WATCHERS)}
        self._set_next(link)

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """See ``Load``."""
        if envelope.id in self._watches:
            if not envelope.HasField("chunk"):
                raise WrongAnswerError(f"a watch had the envelope {envelope}")
            self.count += 1
            return
        answer = pb.StatusResponse.FromString(reply_of(envelope))
        if not answer.success:
            raise WrongAnswerError(f"a variable was not set: {answer}")
        self._set_next(link)

    def _set_next(self, link: RawLink) -> None:
        self._number += 1
        self._set.value.CopyFrom(serialize_value(self._number))
        link.call("SetSessionVariable", self._set.SerializeToString())


class Sessions:
    """Sessions that are opened and closed, some at once; each pair is counted."""

    def __init__(self) -> None:
        self.count = 0
        self._prefix = ""
        self._number = 0
        # By the number of the call, each session that is being opened.
        self._opening: dict[int, str] = {}

    async def begin(self, link: RawLink, session_id: str) -> None:
        """See ``Load``."""
        self._prefix = session_id
        for _ in range(WIDTH):
            self._open(link)

    def take(self, link: RawLink, envelope: pb.Envelope) -> None:
        """See ``Load``."""
        reply = reply_of(envelope)
        opened = self._opening.pop(envelope.id, None)
        if opened is not None:
            answer = pb.InitializeSessionResponse.FromString(reply)
            if not answer.success or answer.resumed:
                raise WrongAnswerError(f"{opened} was not opened: {answer}")
            link.call("CleanupSession", pb.CleanupSessionRequest(session_id=opened).SerializeToString())
            return
        if not pb.StatusResponse.FromString(reply).success:
            raise WrongAnswerError(f"a session was not closed: {reply!r}")
        self.count += 1
        self._open(link)

    def _open(self, link: RawLink) -> None:
        self._number += 1
        name = f"{self._prefix}-{self._number}"
        request = pb.InitializeSessionRequest(session_id=name)
        self._opening[link.call("InitializeSession", request.SerializeToString())] = name


LOADS: dict[str, Callable[[], Load]] = {
    "calls": Calls,
    "small-chunks": lambda: Streams("count", _LONG, chunks=_LONG, each=lambda chunk: chunk.HasField("data")),
    "large-chunks": lambda: Streams("chunks", 1, _LARGE, chunks=_LARGE, each=_is_large),
    "streams": lambda: Streams("count", 1, chunks=1, width=WIDTH),
    "progress": lambda: Streams("report", _LONG, chunks=1, each=lambda chunk: chunk.HasField("metadata"), events=True),
    "updates": Updates,
    "sessions": Sessions,
}


def _is_large(chunk: pb.ToolStreamChunk) -> bool:
    large = len(chunk.data.value) > CHUNK_BYTES
    if chunk.HasField("data") and not large:
        raise WrongAnswerError(f"a chunk has {len(chunk.data.value)} bytes")
    return large


def _values(*values: Any) -> list[Any]:
    return [serialize_value(value) for value in values]
