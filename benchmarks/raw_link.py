"""A client of the link that costs little: it writes calls by hand, and reads of the answers what it must check.

A client of the package takes about as long for a call as the hub. On a machine with few cores it would have no more to
do than the hub, and the hub would never be full.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

from benchmarks.work import WrongAnswerError
from grpc_tool_bridge.link.envelopes import call_header, call_prefix, whole
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkFrame, LinkHello
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.endpoints import endpoint_of

# More than any stream here has: nothing is granted later.
_CREDIT = 2**32 - 1
# Events carry the metadata of an answer.
_CONTROL = frozenset({"ping", "pong", "credit", "event"})


class RawLink:
    """A link, over which calls are sent and envelopes come back.

    Args:
        stream: Carries the frames.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._prefixes: dict[str, bytes] = {}
        self._waiting: list[bytes] = []
        self._next_id = 1

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str) -> AsyncGenerator[Self, None]:
        """Dials a hub, and greets it."""
        way = endpoint_of(Connection(address=address)).open()
        dialled = await way.dial()
        stream = _PushedFrames(dialled) if hasattr(dialled, "attach") else dialled
        link = cls(stream)
        try:
            hello = _hello(getattr(dialled, "hello_metadata", {}))
            await stream.write(LinkFrame(envelopes=[hello]).SerializeToString())
            (answer,) = await link.receive()
            if answer.WhichOneof("kind") != "hello":
                raise WrongAnswerError(f"the hub greeted with {answer}")
            yield link
        finally:
            stream.close()
            await way.close()

    def call(self, method: str, payload: bytes) -> int:
        """Makes a call, which the next ``flush`` sends; returns its id."""
        prefix = self._prefixes.get(method)
        if prefix is None:
            prefix = self._prefixes[method] = call_prefix(method, initial_credit=_CREDIT)
        number = self._next_id
        self._next_id += 2
        self._waiting.append(call_header(prefix, number, len(payload)))
        self._waiting.append(payload)
        return number

    async def ask(self, method: str, request: Any) -> bytes:
        """Makes a call while no other is open; returns its answer."""
        self.call(method, request.SerializeToString())
        await self.flush()
        (answer,) = await self.receive()
        return reply_of(answer)

    async def flush(self) -> None:
        """Sends the calls that wait."""
        if self._waiting:
            frame = b"".join(self._waiting)
            self._waiting.clear()
            await self._stream.write(frame)

    async def receive(self) -> Sequence[Envelope]:
        """Returns the answers in the next frame that has some; fails if the hub has ended the link."""
        while True:
            frame = await self._stream.read()
            if frame is None:
                raise await self._stream.failure(None)
            answers = [each for each in LinkFrame.FromString(frame).envelopes if not self._is_control(each)]
            if answers:
                return answers
            await self.flush()

    def _is_control(self, envelope: Envelope) -> bool:
        """Returns whether it answers no call; a ping is answered with the next frame."""
        kind = envelope.WhichOneof("kind")
        if kind == "ping":
            self._waiting.append(whole(Envelope(pong=envelope.ping)))
        return kind in _CONTROL


def reply_of(envelope: Envelope) -> bytes:
    """Returns the answer in an envelope; fails if it is another envelope, such as the end of a refused call."""
    if not envelope.HasField("reply"):
        raise WrongAnswerError(f"a call was answered with {envelope}")
    return envelope.reply


class _PushedFrames:
    """Reads and writes frames over a stream that pushes them.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._frames: list[bytes] = []
        self._is_over = False
        self._changed = asyncio.Event()
        stream.attach(self)

    def on_frames(self, frames: Sequence[bytes]) -> None:
        """Keeps frames until they are read."""
        self._frames += frames
        self._changed.set()

    def on_partial(self, size: int) -> None:
        """Waits for the rest."""

    def on_room(self) -> None:
        """Lets a write go on."""
        self._changed.set()

    def on_end(self, error: Exception | None) -> None:
        """Lets a read end."""
        del error
        self._is_over = True
        self._changed.set()

    async def read(self) -> bytes | None:
        """Returns the next frame, with all that came with it; None at the end."""
        while not self._frames:
            if self._is_over:
                return None
            await self._change()
        # Frames that follow one another are one frame: each is a list of envelopes.
        frame = b"".join(self._frames)
        self._frames.clear()
        return frame

    async def write(self, frame: bytes) -> None:
        """Sends a frame once the stream takes it."""
        while not self._stream.is_writable and not self._is_over:
            await self._change()
        head = self._stream.frame_head
        self._stream.send(frame if head is None else head(len(frame)) + frame)

    def close(self) -> None:
        """Ends the stream."""
        self._stream.close()

    async def failure(self, error: Exception | None) -> Exception:
        """Returns why the stream ended."""
        failure: Exception = await self._stream.failure(error)
        return failure

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _hello(metadata: Mapping[str, str]) -> Envelope:
    return Envelope(hello=LinkHello(protocol=1, peer="benchmarks", metadata=metadata))
