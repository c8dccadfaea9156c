"""Streams of frames in memory, for tests of what stands upon them."""

import asyncio
from typing import Any

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.streams import FrameStream, PushStream
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb


class FakeStream(FrameStream):
    """A stream whose other end is the test: reads what is fed, keeps what is written.

    Attributes:
        written: The frames that were written.
        open: Set while writes are taken; else they wait.
        write_failure: Raised by writes.
        end: What it ended with, where the peer told it.
        closed: Whether it was closed here.
    """

    peer = "a test"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.write_failure: BaseException | None = None
        self.end: ToolBridgeError | None = None
        self.closed = False
        self._frames: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()

    def feed(self, what: pb.Envelope | bytes | BaseException | None, *more: pb.Envelope) -> None:
        """Lets the link read a frame, an error, or the end."""
        if isinstance(what, pb.Envelope):
            what = pb.LinkFrame(envelopes=(what, *more)).SerializeToString()
        self._frames.put_nowait(what)

    def envelopes(self) -> list[pb.Envelope]:
        """Takes what was written."""
        envelopes = [envelope for frame in self.written for envelope in pb.LinkFrame.FromString(frame).envelopes]
        self.written.clear()
        return envelopes

    async def read(self) -> bytes | None:
        frame = await self._frames.get()
        if isinstance(frame, BaseException):
            raise frame
        return frame

    async def write(self, frame: bytes) -> None:
        await self.open.wait()
        if self.write_failure is not None:
            raise self.write_failure
        self.written.append(frame)

    def close(self) -> None:
        self.closed = True

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        if isinstance(error, ToolBridgeError):
            return error
        return self.end or await super().failure(error)


class FakePush(PushStream):
    """A stream that calls its receiver, and whose other end is the test.

    Attributes:
        written: The frames that were sent.
        room: How many frames it still takes.
        sent: Whether everything was sent.
        paused: Whether nothing is received.
        send_failure: Raised by ``send``.
        receiver: What it was attached to.
    """

    peer = "a test"

    def __init__(self, *, speaks_first: bool = True) -> None:
        self.speaks_first = speaks_first
        self.written: list[bytes] = []
        self.room = 1_000
        self.sent = True
        self.paused = False
        self.send_failure: Exception | None = None
        self.receiver: Any = None

    @property
    def is_writable(self) -> bool:  # type: ignore[override]  # as the test says
        return self.room > 0

    def attach(self, receiver: Any) -> None:
        self.receiver = receiver

    def send(self, frame: bytes) -> None:
        if self.send_failure is not None:
            raise self.send_failure
        self.room -= 1
        self.written.append(frame)

    def is_sent(self) -> bool:
        return self.sent

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        """Does nothing: the test looks at what was sent."""

    def feed(self, *frames: bytes | pb.Envelope) -> None:
        """Lets frames arrive together, each of one envelope unless it is bytes."""
        self.receiver.on_frames(
            [
                frame if isinstance(frame, bytes) else pb.LinkFrame(envelopes=[frame]).SerializeToString()
                for frame in frames
            ]
        )

    def give_room(self, count: int) -> None:
        """Takes further frames."""
        self.room += count
        self.receiver.on_room()

    def envelopes(self) -> list[pb.Envelope]:
        """Takes what was sent."""
        envelopes = [envelope for frame in self.written for envelope in pb.LinkFrame.FromString(frame).envelopes]
        self.written.clear()
        return envelopes


class Frames:
    """Frames in one direction, of which at most one waits.

    Attributes:
        open: Set while they are read.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self.open = asyncio.Event()
        self.open.set()

    async def read(self) -> Any:
        await self.open.wait()
        return await self._queue.get()

    async def write(self, frame: bytes | None) -> None:
        await self._queue.put(frame)


class PipeStream(FrameStream):
    """One end of a stream between two ends in memory; to write None is to send no more."""

    peer = "this process"
    read: Any
    write: Any

    def __init__(self, incoming: Frames, outgoing: Frames) -> None:
        self.read, self.write = incoming.read, outgoing.write

    def close(self) -> None:
        """Does nothing: the other end may read on."""


async def settle() -> None:
    """Gives every task its turns."""
    for _ in range(10):
        await asyncio.sleep(0)
