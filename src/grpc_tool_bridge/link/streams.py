"""What carries the frames of a link: gRPC, memory, a socket, or whatever else implements these three.

An ``Endpoint`` names a peer, a ``Dialable`` is the open way to it, and a ``FrameStream`` is one stream of frames there.
Who accepts links needs streams only, and gives each to ``LinkServer.serve``.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.status import Code, link_error


class FrameStream(Protocol):
    """A stream of frames in both directions; reads and writes may go on side by side.

    Attributes:
        peer: The address of the other end, such as ``ipv4:127.0.0.1:50051``. A hub counts what all streams of one
            address hold together.
    """

    peer: str

    async def read(self) -> bytes | None:
        """Reads the next frame; None where the peer sends no more. Raises anything where the stream broke."""

    def write(self, frame: bytes) -> Coroutine[Any, Any, None]:
        """Sends a frame; returns once the stream takes another. Its first step is made at once, and may do all of it.

        Raises anything where the stream broke.
        """

    def close(self) -> None:
        """Ends the stream at once, in both directions, and frees what it has. Closed already, it stays so."""

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """Says why the stream ended, before it is closed here; only the end that dialled asks.

        Args:
            error: What ``read`` or ``write`` raised; None where ``read`` gave None.

        Returns:
            The peer's own error where it told one, else a ToolCommunicationError with the name of a status;
            UNIMPLEMENTED says that the peer does not support Link.

        Raises:
            Exception: The error itself, where it is none of a stream.
        """
        return stream_failure(error)


class Dialable(Protocol):
    """An open way to a peer, by which streams are dialled one after another."""

    async def dial(self) -> FrameStream:
        """Opens a stream; that the peer refuses it may show only when it is read.

        Raises:
            ToolBridgeError: As ``FrameStream.failure`` returns.
        """

    def plain_calls(self, tasks: Any) -> Any:
        """Makes what carries calls where the peer does not support Link; None where nothing does.

        Args:
            tasks: A TaskSet, owner of what waits for answers.
        """

    async def close(self, *, stranded: bool = False) -> None:
        """Closes the way, and with it its streams.

        Args:
            stranded: Whether the event loop that it was used in has ended before it.
        """


class Endpoint(Protocol):
    """Where a peer is.

    Attributes:
        where: Its address, for texts.
    """

    @property
    def where(self) -> str:
        """Its address, for texts."""

    def open(self) -> Dialable:
        """Opens the way to it; needs a running event loop. Nothing is sent yet.

        Raises:
            OSError: A file that it needs cannot be read.
        """


def stream_failure(error: Exception | None) -> ToolBridgeError:
    """Says why a stream ended whose peer tells nothing, and which breaks with an OSError or EOFError."""
    if error is None:
        return link_error(Code.UNAVAILABLE, "the hub ended it")
    if isinstance(error, OSError | EOFError):
        return link_error(Code.UNAVAILABLE, str(error) or type(error).__name__)
    raise error
