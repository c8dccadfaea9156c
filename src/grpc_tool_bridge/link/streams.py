"""The interfaces of what carries a link's frames: gRPC, memory, a socket, or something else.

An ``Endpoint`` names a peer, a ``Dialable`` is an open way to it, and a ``Stream`` is one stream of frames. The
accepting end needs streams only, and passes each to ``LinkServer.serve``. Subclasses inherit common defaults.

There are two kinds of streams. A ``FrameStream`` is read and written by tasks, as gRPC needs it. A ``PushStream`` calls
its receiver with each frame, and takes frames without a wait, as a socket can: a frame costs no switch of tasks.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.keepalive import KeepAlive
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkHello
from grpc_tool_bridge.rpc.authentication import Principal

# A peer that accepts a link but sends no hello for so long is not a hub, or is stuck.
GREETING_SECONDS = 20.0


class Stream(Protocol):
    """What all streams of frames have in common.

    Attributes:
        peer: The address of the other end, such as ``ipv4:127.0.0.1:50051``. All streams from one address share a
            budget at the hub.
        hello_metadata: Sent in this end's hello, by streams that have no other place for it.
        speaks_first: Whether this end may send before the peer's hello was admitted.
        greeting_seconds: How long the hub may take to send its hello, at the end that dialled.
        keepalive: How long the hub may be silent, at the end that dialled; None: what carries the frames notices that
            it is gone.
        over: What carries the frames, for people.
        renew: Authenticates the peer once more, with what it has shown; None: it was not authenticated.
    """

    peer: str
    hello_metadata: Mapping[str, str] = MappingProxyType({})
    speaks_first: bool = True
    greeting_seconds: float = GREETING_SECONDS
    keepalive: KeepAlive | None = None
    over: str = "a stream"
    renew: Callable[[], Principal] | None = None

    def admit(self, hello: LinkHello) -> Principal | None:
        """Checks the peer's hello, before anything else of the peer is processed.

        Args:
            hello: The peer's hello.

        Returns:
            Who the peer is; None if the stream does not know that by the hello.

        Raises:
            ToolBridgeError: The peer may not use the link.
        """
        del hello
        return None

    def close(self) -> None:
        """Ends the stream immediately, in both directions, and frees its resources. May be called repeatedly."""

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """Returns why the stream ended; called before ``close``, only at the end that dialled.

        By default it handles OSError, EOFError, and a peer that gave no reason.

        Args:
            error: What ended it; None if the peer did.

        Returns:
            The peer's own error if it sent one, else a ToolCommunicationError with the name of a status;
            UNIMPLEMENTED means that the peer does not support Link.

        Raises:
            Exception: The error itself, if it is not an error of the stream.
        """
        if error is None:
            return link_error(Code.UNAVAILABLE, "the hub ended it")
        if isinstance(error, OSError | EOFError):
            return link_error(Code.UNAVAILABLE, str(error) or type(error).__name__)
        raise error


class FrameStream(Stream, Protocol):
    """A stream from which frames are read; reads and writes may be concurrent."""

    async def read(self) -> bytes | None:
        """Reads the next frame; returns None at the end. Raises any exception if the stream broke."""

    def write(self, frame: bytes) -> Coroutine[Any, Any, None]:
        """Sends a frame; returns once the stream takes another. Its first step is made immediately, and may do it all.

        Raises any exception if the stream broke.
        """


class Receiver(Protocol):
    """What a ``PushStream`` passes its frames to."""

    def on_frames(self, frames: Sequence[bytes]) -> None:
        """Takes frames that were received, in order."""

    def on_partial(self, size: int) -> None:
        """Notes how many bytes of the next frame have arrived; 0: it is complete, and is passed on next."""

    def on_room(self) -> None:
        """Notes that the stream is writable again, or that everything was sent."""

    def on_end(self, error: Exception | None) -> None:
        """Notes that the stream has ended; ``error`` is None if the peer ended it."""


@runtime_checkable
class PushStream(Stream, Protocol):
    """A stream that passes frames to a receiver as they arrive, in the same turn of the event loop.

    Attributes:
        is_writable: Whether it takes another frame without keeping more than it should.
        frame_head: Returns what comes before a frame of so many bytes, which is written together with the frame; None:
            nothing does.
    """

    is_writable: bool
    frame_head: Callable[[int], bytes] | None = None

    def attach(self, receiver: Receiver) -> None:
        """Passes everything from now on, and what has arrived before, to ``receiver``."""

    def send(self, frame: bytes) -> None:
        """Sends a frame after its head, or keeps it until the peer reads."""

    def is_sent(self) -> bool:
        """Returns whether everything was sent; if not, ``on_room`` of the receiver is called once it was."""

    def pause(self) -> None:
        """Receives nothing more until ``resume``; frames that arrived before may still be passed on."""

    def resume(self) -> None:
        """Receives again."""


class Dialable(Protocol):
    """An open way to a peer, over which streams are dialled one after another.

    Attributes:
        where: Which of several peers is dialled, and then used, for texts; empty: there is one, which the endpoint
            names.
        has_others: Whether there are several peers, of which any will do.
    """

    where: str = ""
    has_others: bool = False

    async def dial(self) -> FrameStream | PushStream:
        """Opens a stream; a refusal by the peer may show only when the stream is read.

        Raises:
            ToolBridgeError: An error as ``Stream.failure`` returns it.
        """

    def dial_otherwise(self, error: ToolBridgeError) -> bool:
        """Returns whether to dial again at once, because there is another way to the same peer.

        Args:
            error: Why the last dial gave no link.
        """
        del error
        return False

    def move_on(self, error: ToolBridgeError, *, stable: bool) -> bool:
        """Notes that the peer was lost, or cannot serve: the next dial is for the next peer, if there are several.

        Args:
            error: Why it is left.
            stable: Whether it served for a while.

        Returns:
            Whether to dial without a pause; not if each of the peers was left, one after another.
        """
        del error, stable
        return False

    def sum_up(self, error: ToolBridgeError) -> ToolBridgeError:
        """Returns the error for a round of dials in vain; it says why each of the peers was not reached.

        Args:
            error: That of the last dial.
        """
        return error

    def plain_calls(self, tasks: Any) -> Any:
        """Returns what sends calls if the peer does not support Link; None if nothing does.

        Args:
            tasks: A TaskSet, the owner of the tasks that wait for answers.
        """
        del tasks

    async def close(self, *, stranded: bool = False) -> None:
        """Closes the way and its streams.

        Args:
            stranded: Whether the event loop that it was used in has ended.
        """


class Endpoint(Protocol):
    """Where a peer is.

    Attributes:
        where: Its address, for error texts.
    """

    @property
    def where(self) -> str:
        """Its address, for error texts."""

    def open(self) -> Dialable:
        """Opens the way to the peer; needs a running event loop. Nothing is sent yet.

        Raises:
            OSError: A file that it needs cannot be read.
        """
