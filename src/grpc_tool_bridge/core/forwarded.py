"""Requests and answers that the hub forwards as bytes, reading no more of them than it must."""

from collections.abc import Mapping

from google.protobuf.message import Message

from grpc_tool_bridge.errors import ProtocolError, SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Buffers, Payload
from grpc_tool_bridge.rpc.nodes import read_message
from grpc_tool_bridge.rpc.wireformat import LENGTH, fields, varint
from grpc_tool_bridge.runner.calls import deadline_text
from grpc_tool_bridge.values.call_bytes import is_success

# Above this size, scanning the fields of a message costs less than parsing it.
SCANNED_BYTES = 4_096

_SUCCESS = ToolCallResponse.SUCCESS_FIELD_NUMBER
_RESULT = ToolCallResponse.RESULT_FIELD_NUMBER
_ID_TAG = varint(ToolCallRequest.REQUEST_ID_FIELD_NUMBER << 3 | LENGTH)
_SEQUENCE = ToolStreamChunk.SEQUENCE_FIELD_NUMBER
_ERROR = ToolStreamChunk.ERROR_FIELD_NUMBER
_COMPLETE = ToolStreamChunk.COMPLETE_FIELD_NUMBER
_CONTENTS = frozenset({ToolStreamChunk.DATA_FIELD_NUMBER, ToolStreamChunk.METADATA_FIELD_NUMBER, _COMPLETE, _ERROR})


def call_bytes(request: ToolCallRequest | ToolCallItem | ToolStreamRequest, session_id: str) -> bytes:
    """Serializes the request of a call or a stream for a worker."""
    if isinstance(request, ToolCallItem):
        return ToolCallRequest(
            session_id=session_id, tool_id=request.tool_id, args=request.args, kwargs=request.kwargs
        ).SerializeToString()
    return request.SerializeToString()


def with_metadata(metadata: Mapping[str, str], payload: Payload, kind: type[Message] = ToolCallRequest) -> Payload:
    """Adds metadata to a request, under that of the request itself.

    Args:
        metadata: The metadata.
        payload: The serialized request.
        kind: The class of the request; that of an item of a batch is serialized as a call.
    """
    # Of two entries of a map with the same key, the later one counts.
    first = (ToolStreamRequest if kind is ToolStreamRequest else ToolCallRequest)(context=metadata).SerializeToString()
    return Buffers((first, *payload.buffers)) if isinstance(payload, Buffers) else first + payload


def with_id(request_id: str, payload: Payload) -> Payload:
    """Adds the id of a call or a stream to its serialized request."""
    # Both kinds of requests have the same field for it.
    text = request_id.encode()
    last = b"".join((_ID_TAG, varint(len(text)), text))
    return Buffers((*payload.buffers, last)) if isinstance(payload, Buffers) else payload + last


class ForwardedResponse:
    """A worker's answer to one call.

    Args:
        data: A serialized ToolCallResponse.
        tool_name: For error texts.
        show_traceback: Whether the caller may see the traceback of an error.

    Attributes:
        data: As given, or without its traceback.
        success: Whether the tool succeeded.

    Raises:
        ProtocolError: It is not a valid answer.
    """

    __slots__ = ("_message", "_tool_name", "data", "success")

    def __init__(self, data: Payload, tool_name: str, *, show_traceback: bool) -> None:
        self.data: Payload = data
        self._message: ToolCallResponse | None = None
        self._tool_name = tool_name
        if type(data) is bytes and is_success(data):
            self.success = True
            return
        try:
            if len(data) > SCANNED_BYTES:
                found = dict(fields(data))
                self.success = found.get(_SUCCESS) == 1 and _RESULT in found
                if self.success:
                    return
                message = read_message(ToolCallResponse, data, "the message")
            else:
                # A message this small cannot have too many nodes.
                message = ToolCallResponse.FromString(data if type(data) is bytes else bytes(data))
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the worker's fault
            raise _unreadable(f"the answer to {tool_name}", failure) from None
        self._message = message
        self.success = message.success
        if not message.success:
            if not message.error.type:
                raise ProtocolError(f"the worker's answer to {tool_name} is neither a result nor an error")
            if message.error.stacktrace and not show_traceback:
                message.error.stacktrace = ""
                self.data = message.SerializeToString()
        elif not message.HasField("result"):
            raise ProtocolError(f"the worker's answer to {tool_name} reports success, but has no result")

    def restate(self, seconds: float) -> None:
        """Makes a timeout error state the whole time of the call, not what was left for the worker."""
        message = self._message
        if message is not None and _restate(message.error, seconds, self._tool_name):
            self.data = message.SerializeToString()

    def put_into(self, answer: ToolCallResponse | ToolCallResult) -> None:
        """Copies the result or the error, and the worker's metrics, into the answer to the caller.

        Raises:
            ProtocolError: It cannot be read.
        """
        message = self._message
        if message is None:
            try:
                message = read_message(ToolCallResponse, self.data, "the message")
            except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the worker's fault
                raise _unreadable("an answer", failure) from None
        answer.success = message.success
        if message.success:
            answer.result.CopyFrom(message.result)
        else:
            answer.error.CopyFrom(message.error)
        answer.metrics.CopyFrom(message.metrics)


class ForwardedChunk:
    """A chunk of a worker's stream.

    Args:
        data: A serialized ToolStreamChunk.
        tool_name: For error texts.
        sequence: The expected number.
        show_traceback: Whether the caller may see the traceback of an error.

    Attributes:
        data: As given, or without its traceback.
        error: The error that ended the stream; None for any other chunk.
        is_last: Whether it is the last chunk of the stream.

    Raises:
        ProtocolError: It is not a valid chunk, or not the expected one.
    """

    __slots__ = ("_tool_name", "data", "error", "is_last")

    def __init__(self, data: Payload, tool_name: str, sequence: int, *, show_traceback: bool) -> None:
        self.data: Payload = data
        self._tool_name = tool_name
        self.error: ErrorInfo | None = None
        number = content = 0
        try:
            for field, value in fields(data):
                if field == _SEQUENCE:
                    number = value
                elif field in _CONTENTS:
                    content = field
        except SerializationError as failure:
            raise _unreadable(f"a chunk of {tool_name}", failure) from None
        if number != sequence:
            raise ProtocolError(
                f"the worker's stream of {tool_name} has a gap: chunk {number} came where {sequence} was due"
            )
        if not content:
            raise ProtocolError(f"chunk {sequence} of the worker's stream of {tool_name} is empty")
        self.is_last = content in (_COMPLETE, _ERROR)
        if content == _ERROR:
            message = self.message()
            self.error = message.error
            if message.error.stacktrace and not show_traceback:
                message.error.stacktrace = ""
                self.data = message.SerializeToString()

    def restate(self, seconds: float) -> None:
        """As for an answer."""
        message = self.message()
        if _restate(message.error, seconds, self._tool_name):
            self.error, self.data = message.error, message.SerializeToString()

    def message(self) -> ToolStreamChunk:
        """Parses the whole chunk.

        Raises:
            ProtocolError: It cannot be read.
        """
        try:
            return read_message(ToolStreamChunk, self.data, "the message")
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the worker's fault
            raise _unreadable("a chunk", failure) from None


def _restate(error: ErrorInfo, seconds: float, tool_name: str) -> bool:
    details = error.details
    if error.type != "TimeoutError" or details.get("origin") != "bridge" or "started" not in details:
        return False
    error.message = deadline_text(tool_name, seconds, details.get("waited_for", ""))
    return True


def _unreadable(what: str, failure: Exception) -> ProtocolError:
    return ProtocolError(f"{what}, which a worker sent, cannot be read: {str(failure)[:200]}")
