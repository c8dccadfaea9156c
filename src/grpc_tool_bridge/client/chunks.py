"""The chunks of a stream, checked: in order, each with one content, and no more than fits."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, error_from_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress, StreamMetadata, ToolStreamChunk

E = TypeVar("E", Progress, LogRecord)


class ChunkReader:
    """Reads the chunks of one stream.

    Args:
        name: The tool's name, for errors.
        on_progress, on_log: Called with each event of the tool; None: it is dropped.
        most: Bytes that all values together may take; None: any number.

    Attributes:
        is_complete: Whether the last chunk has come.
    """

    def __init__(
        self,
        name: str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_log: Callable[[LogRecord], None] | None = None,
        most: int | None = None,
    ) -> None:
        self.is_complete = False
        self._name = name
        self._on_progress = on_progress
        self._on_log = on_log
        self._most = most
        self._expected = self._size = 0

    def value_of(self, chunk: ToolStreamChunk) -> AnyMessage | None:
        """Returns the encoded value of the next chunk; None if it has another content, which is handled here.

        Raises:
            ToolExecutionError: The stream has failed.
            MessageTooLargeError: The values take more than ``most`` bytes.
            ProtocolError: A chunk is missing or empty, or has an invalid event.
        """
        expected, self._expected = self._expected, self._expected + 1
        if chunk.sequence != expected:
            raise ProtocolError(
                f"the stream of {self._name} has a gap: chunk {chunk.sequence} came where {expected} was due"
            )
        kind = chunk.WhichOneof("content")
        if kind == "data":
            self._size += len(chunk.data.value)
            if self._most is not None and self._size > self._most:
                raise MessageTooLargeError.of(f"the list of what {self._name} yields", self._size, self._most)
            return chunk.data
        if kind == "error":
            failure = error_from_info(chunk.error, self._name)
            failure.request_id = chunk.stream_id
            raise failure
        if kind == "complete":
            self.is_complete = True
        elif kind == "metadata":
            self._tell(chunk.metadata)
        else:
            raise ProtocolError(f"chunk {expected} of the stream of {self._name} is empty")
        return None

    def _tell(self, metadata: StreamMetadata) -> None:
        if metadata.key == "progress" and self._on_progress is not None:
            self._on_progress(self._event(metadata, Progress()))
        elif metadata.key == "log" and self._on_log is not None:
            self._on_log(self._event(metadata, LogRecord()))

    def _event(self, metadata: StreamMetadata, event: E) -> E:
        try:
            if metadata.value.Unpack(event):
                return event
        except DecodeError:
            pass
        raise ProtocolError(f"the stream of {self._name} has an invalid {metadata.key!r} event")
