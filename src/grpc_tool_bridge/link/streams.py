"""The interfaces of what carries a link's frames: gRPC, memory, a socket, or something else.

An ``Endpoint`` names a peer, a ``Dialable`` is an open way to it, and a ``FrameStream`` is one stream of frames. The
accepting end needs streams only, and passes each to ``LinkServer.serve``. Subclasses inherit common defaults.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.status import Code, link_error


class FrameStream(Protocol):
    """A stream of frames in both directions; reads and writes may be concurrent.

    Attributes:
        peer: The address of the other end, such as ``ipv4:127.0.0.1:50051``. All streams from one address share a
            budget at the hub.
    """

    peer: str

    async def read(self) -> bytes | None:
        """Reads the next frame; returns None at the end. Raises any exception if the stream broke."""

    def write(self, frame: bytes) -> Coroutine[Any, Any, None]:
        """Sends a frame; returns once the stream takes another. Its first step is made immediately, and may do it all.

        Raises any exception if the stream broke.
        """

    def close(self) -> None:
        """Ends the stream immediately, in both directions, and frees its resources. May be called repeatedly."""

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """Returns why the stream ended; called before ``close``, only at the end that dialled.

        By default it handles OSError, EOFError, and a peer that gave no reason.

        Args:
            error: What ``read`` or ``write`` raised; None if ``read`` returned None.

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


class Dialable(Protocol):
    """An open way to a peer, over which streams are dialled one after another."""

    async def dial(self) -> FrameStream:
        """Opens a stream; a refusal by the peer may show only when the stream is read.

        Raises:
            ToolBridgeError: An error as ``FrameStream.failure`` returns it.
        """

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
