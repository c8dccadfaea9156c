"""The error classes, the error table, and the mapping between exceptions and the wire.

::

    ToolBridgeError
    ├── ToolExecutionError            a tool call was answered with an error
    │   ├── ToolTimeoutError          … because it timed out (also a TimeoutError)
│   └── ExternalToolError         … by a tool that runs elsewhere; it arrives as it is
    ├── ToolCommunicationError        a call was not answered
    ├── ProtocolError                 the answer breaks the protocol, or the API was used out of order
    ├── NotFoundError                 ToolNotFound, VariableNotFound, AgentNotFound
    ├── SessionError
    │   ├── SessionNotFoundError      (also a NotFoundError)
    │   └── SessionExpiredError       (also a NotFoundError)
    ├── AlreadyExistsError            AlreadyExists (also a ValueError)
    ├── ValidationError               ValidationError (also a ValueError)
    │   └── ArgumentTypeError         … an argument of the API is of the wrong type (also a TypeError)
    ├── SerializationError            SerializationError (also a ValueError)
    ├── ConflictError                 RevisionConflict, IdempotencyConflict
    ├── ResourceExhaustedError        RateLimitExceeded, ResourceExhausted
    │   └── MessageTooLargeError      MessageTooLarge
    ├── DeadlineExceededError         TimeoutError (also a TimeoutError)
    ├── CallCancelledError            Cancelled
    ├── UnavailableError              WorkerUnavailable
    │   └── StoreError                … because the hub's durable store cannot be used
    ├── AccessError                   PermissionDenied, Unauthenticated
    ├── UnimplementedError            Unimplemented
    └── InternalError                 a fault of the bridge

Every error has an ``error_type``, its name in the table, which peers in any language see. Only ``error_info`` maps an
exception to the wire, and only ``error_from_info`` maps it back.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar

from grpc_tool_bridge.errors.class_facts import class_name, exact_text
from grpc_tool_bridge.errors.clipped_repr import clipped
from grpc_tool_bridge.errors.exception_text import REMOTE_NOTE, as_raised, further_text, no_text, own_text, text_of
from grpc_tool_bridge.errors.tracebacks import format_error, tools_part
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo

# Nobody reads longer messages and tracebacks, and they must not fill a frame.
MAX_MESSAGE_CHARS = 16_384
MAX_STACKTRACE_CHARS = 65_536
MAX_DETAIL_CHARS = 4_096
MAX_DETAILS = 64

# The detail that is "false" if an error may not be retried though its type is retryable by the table.
NOT_RETRYABLE = "retryable"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """How an error type appears over gRPC and HTTP.

    Attributes:
        status: Name of the gRPC status code.
        http: HTTP status code.
        retryable: Whether the same call may succeed later.
    """

    status: str
    http: int
    retryable: bool = False


ERROR_TABLE: Mapping[str, ErrorRule] = MappingProxyType(
    {
        "ToolNotFound": ErrorRule("NOT_FOUND", 404),
        "VariableNotFound": ErrorRule("NOT_FOUND", 404),
        "AgentNotFound": ErrorRule("NOT_FOUND", 404),
        "SessionNotFound": ErrorRule("NOT_FOUND", 404),
        "SessionExpired": ErrorRule("FAILED_PRECONDITION", 410),
        "ValidationError": ErrorRule("INVALID_ARGUMENT", 422),
        "SerializationError": ErrorRule("INVALID_ARGUMENT", 422),
        "AlreadyExists": ErrorRule("ALREADY_EXISTS", 409),
        "RevisionConflict": ErrorRule("ABORTED", 409),
        "IdempotencyConflict": ErrorRule("ABORTED", 409),
        "RateLimitExceeded": ErrorRule("RESOURCE_EXHAUSTED", 429, retryable=True),
        "ResourceExhausted": ErrorRule("RESOURCE_EXHAUSTED", 429, retryable=True),
        "TimeoutError": ErrorRule("DEADLINE_EXCEEDED", 504, retryable=True),
        "Cancelled": ErrorRule("CANCELLED", 499),
        "MessageTooLarge": ErrorRule("RESOURCE_EXHAUSTED", 413),
        "WorkerUnavailable": ErrorRule("UNAVAILABLE", 503, retryable=True),
        "PermissionDenied": ErrorRule("PERMISSION_DENIED", 403),
        "Unauthenticated": ErrorRule("UNAUTHENTICATED", 401),
        "Unimplemented": ErrorRule("UNIMPLEMENTED", 501),
        "InternalError": ErrorRule("INTERNAL", 500),
    }
)

# For exceptions that a tool raised.
TOOL_RAISED = ErrorRule("UNKNOWN", 500)


def error_rule(error_type: str, *, origin: str = "bridge") -> ErrorRule:
    """Returns the rule for ``error_type``; a tool's own exception is UNKNOWN, whatever its name."""
    return TOOL_RAISED if origin == "tool" else ERROR_TABLE.get(error_type, TOOL_RAISED)


class ToolBridgeError(Exception):
    """Base class of all errors of the bridge.

    It can be pickled and copied with all its attributes, and so can a subclass, whatever arguments its ``__init__``
    takes.

    Args:
        message: What was wrong and what to do.
        error_type: Name in the error table; default: the class's own.
        details: Further facts, by name.
        retryable: Whether the same call may succeed later; default: as the table says.
        remote_traceback: Traceback from the process that raised the error, if it sends tracebacks.

    Attributes:
        message, error_type, details, retryable, remote_traceback: As given.
        request_id: The id of the call that failed, as in the log of its hub; empty if it is not known.
    """

    default_type: ClassVar[str] = "InternalError"
    # For subclasses that do not call ``__init__``.
    message: str = ""
    error_type: str = ""
    details: Any = MappingProxyType({})
    retryable: bool = False
    remote_traceback: str = ""
    request_id: str = ""

    def __init__(
        self,
        message: str,
        *,
        error_type: str | None = None,
        details: Mapping[str, str] | None = None,
        retryable: bool | None = None,
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type or self.default_type
        self.details = dict(details or {})
        origin = self.details.get("origin", "bridge")
        self.retryable = error_rule(self.error_type, origin=origin).retryable if retryable is None else retryable
        self.remote_traceback = remote_traceback
        if remote_traceback:
            self.add_note(f"{REMOTE_NOTE}{remote_traceback.rstrip()}")

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, pickle calls the class with ``args``, which need not be what ``__init__`` takes.
        slots = (slot for kind in type(self).__mro__ for slot in _slots_of(kind) if hasattr(self, slot))
        state = {slot: getattr(self, slot) for slot in slots} | self.__dict__
        return _recreated, (type(self), self.args), state

    def __repr__(self) -> str:
        error_type = self.error_type or self.default_type
        named = "" if error_type == type(self).__name__ else f", error_type={error_type!r}"
        return f"{type(self).__name__}({self.message or str(self)!r}{named})"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next try, if the answer has them; else None."""
        if not isinstance(self.details, dict):
            return None
        try:
            seconds = float(self.details.get("retry_after", ""))
        except (TypeError, ValueError):
            return None
        return seconds if 0 <= seconds < float("inf") else None


class ToolExecutionError(ToolBridgeError):
    """A tool call was answered with an error: the tool raised, or the bridge refused the call.

    Args:
        tool_name: The tool's name.
        error_type: Class name of the tool's exception, or a name of the error table.
        message: The error's message.
        details: Further facts by name; ``origin`` is "tool" if the tool raised the error, else "bridge".
        retryable: Whether the same call may succeed later.
        remote_traceback: The tool's traceback, if the hub sends tracebacks.
    """

    details: dict[str, str]
    tool_name: str = ""

    def __init__(
        self,
        tool_name: str,
        error_type: str,
        message: str,
        details: Mapping[str, str] | None = None,
        *,
        retryable: bool | None = None,
        remote_traceback: str = "",
    ) -> None:
        super().__init__(
            message, error_type=error_type, details=details, retryable=retryable, remote_traceback=remote_traceback
        )
        self.tool_name = tool_name

    def __str__(self) -> str:
        # The bridge's own texts begin with the tool's name, for readers who only see the message.
        message = self.message.removeprefix(f"{self.tool_name}: ")
        return f"{self.tool_name}: {self.error_type}: {message}" if message else f"{self.tool_name}: {self.error_type}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tool_name!r}, {self.error_type!r}, {self.message!r})"


class ToolTimeoutError(ToolExecutionError, TimeoutError):
    """The hub answered that the call timed out."""


class ExternalToolError(ToolExecutionError):
    """The error of a tool that runs elsewhere, such as that of another server: the caller gets it unchanged."""


class ToolCommunicationError(ToolBridgeError):
    """A call was not answered: the hub was not reached, the connection was lost, or the answer took too long.

    Args:
        tool_name: Name of the tool, or of the method if the call was not a tool call.
        code: A ``grpc.StatusCode``.
        details: Text from the transport.
    """

    default_type = "ToolCommunicationError"
    details: str
    tool_name: str = ""
    code: Any = None
    code_name: str = ""

    def __init__(self, tool_name: str, code: Any, details: str = "") -> None:
        self.code_name = getattr(code, "name", str(code))
        super().__init__(details or self.code_name, retryable=self.code_name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"})
        self.tool_name = tool_name
        self.code = code
        self.details = details

    def __str__(self) -> str:
        return f"{self.tool_name}: {self.code_name}: {self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tool_name!r}, {self.code_name}, {self.message!r})"


class ProtocolError(ToolBridgeError):
    """The answer breaks the protocol, or the API was used out of order."""

    default_type = "ProtocolError"


class NotFoundError(ToolBridgeError):
    """There is no such tool, variable or agent."""

    default_type = "ToolNotFound"


class SessionError(ToolBridgeError):
    """The session cannot be used."""

    default_type = "SessionNotFound"


class SessionNotFoundError(SessionError, NotFoundError):
    """The hub has no session with this id; it never existed, or ended long ago."""

    default_type = "SessionNotFound"


class SessionExpiredError(SessionError, NotFoundError):
    """The session has ended: it was removed, or idle for too long."""

    default_type = "SessionExpired"


class AlreadyExistsError(ToolBridgeError, ValueError):
    """The name is taken."""

    default_type = "AlreadyExists"


class ValidationError(ToolBridgeError, ValueError):
    """A request or its arguments are not valid; ``details`` says why, by name."""

    default_type = "ValidationError"


class ArgumentTypeError(ValidationError, TypeError):
    """An argument of the API has the wrong type."""


class SerializationError(ToolBridgeError, ValueError):
    """A value cannot be represented on the wire, or bytes from the wire are not a valid value."""

    default_type = "SerializationError"


class ConflictError(ToolBridgeError):
    """The variable has another revision, or the idempotency key was used with other arguments."""

    default_type = "RevisionConflict"


class ResourceExhaustedError(ToolBridgeError):
    """A limit is reached; ``retry_after`` says when to try again, if that is known."""

    default_type = "ResourceExhausted"


class MessageTooLargeError(ResourceExhaustedError):
    """A message is over the limit."""

    default_type = "MessageTooLarge"

    @classmethod
    def of(cls, what: str, size: int, limit: int) -> "MessageTooLargeError":
        """Returns the error for ``what``, which has ``size`` bytes and may have ``limit``."""
        return cls(
            f"message too large: {what} takes {size:,} bytes, the limit is {limit:,}; "
            "stream it in parts, or raise max_message_bytes at both ends",
            details={"size": str(size), "limit": str(limit)},
        )


class DeadlineExceededError(ToolBridgeError, TimeoutError):
    """The call timed out."""

    default_type = "TimeoutError"


class CallCancelledError(ToolBridgeError):
    """The call was cancelled: by its caller, with its session, or by the hub's shutdown."""

    default_type = "Cancelled"


class UnavailableError(ToolBridgeError):
    """There is currently no worker to run the call."""

    default_type = "WorkerUnavailable"


class StoreError(UnavailableError):
    """The hub's durable store cannot be used: another hub has it, or it cannot be read or written."""


class AccessError(ToolBridgeError):
    """The caller is not authenticated, or may not do this."""

    default_type = "PermissionDenied"


class UnimplementedError(ToolBridgeError):
    """The hub does not implement the method, or a tool asked a caller that cannot answer."""

    default_type = "Unimplemented"


class InternalError(ToolBridgeError):
    """A fault of the bridge, logged with its traceback under ``details["error_id"]``."""

    default_type = "InternalError"

    @classmethod
    def new(cls) -> "InternalError":
        """Returns an error with a new id and the fixed message that a peer may see."""
        error_id = uuid.uuid4().hex[:12]
        return cls(f"internal error of the bridge; its log has it as {error_id}", details={"error_id": error_id})


# Each class by its default type, and some by further types.
_CLASS_OF: Mapping[str, type[ToolBridgeError]] = {
    kind.default_type: kind
    for kind in (
        NotFoundError, SessionNotFoundError, SessionExpiredError, ValidationError, SerializationError,
        AlreadyExistsError, ConflictError, ResourceExhaustedError, DeadlineExceededError, CallCancelledError,
        MessageTooLargeError, UnavailableError, AccessError, UnimplementedError, InternalError, ProtocolError,
    )
} | {
    "VariableNotFound": NotFoundError,
    "AgentNotFound": NotFoundError,
    "IdempotencyConflict": ConflictError,
    "RateLimitExceeded": ResourceExhaustedError,
    "Unauthenticated": AccessError,
}  # fmt: skip


def error_info(error: BaseException, *, raised_by_tool: bool = False, show_traceback: bool = False) -> ErrorInfo:
    """Maps an exception to the wire. Never raises, whatever the exception does.

    Formatting an exception of a tool may run any code; ``plain_errors.is_plain`` returns whether it does not.

    Args:
        error: The exception.
        raised_by_tool: Whether a tool raised it. A tool's exception keeps its class name and its message, followed by
            its notes, causes and group members (``exception_text``). For any other exception that is not the bridge's,
            only an id is sent, which the log has too.
        show_traceback: Whether the caller may see the traceback of a tool's exception.

    Returns:
        The message for a response, or for the trailing metadata of a status.
    """
    if issubclass(type(error), ExternalToolError):
        # It describes this call, and not one that the tool made.
        raised_by_tool = False
    if raised_by_tool:
        error = as_raised(error)
    elif not issubclass(type(error), ToolBridgeError):
        error = InternalError.new()
    try:
        return _info_of(error, raised_by_tool=raised_by_tool, show_traceback=show_traceback)
    except BaseException as failure:  # noqa: BLE001 - as a broken __str__, it must not hide the error that it belongs to
        return info_without_text(error, no_text(failure), origin="tool" if raised_by_tool else "bridge")


def info_without_text(error: BaseException, text: str, *, origin: str = "tool") -> ErrorInfo:
    """Maps an exception to the wire by its class name alone, without running any of its code.

    ``text`` replaces its message; ``origin`` is "tool" or "bridge".
    """
    info = ErrorInfo(type=wire_text(class_name(type(error)), 256), message=text, details={"origin": origin})
    info.timestamp.GetCurrentTime()
    return info


def _info_of(error: BaseException, *, raised_by_tool: bool, show_traceback: bool) -> ErrorInfo:
    """Reads what an exception says, which is either the bridge's or a tool's."""
    of_bridge: Any = error if issubclass(type(error), ToolBridgeError) else None
    error_type, message, stacktrace, details = "", "", "", {}
    if of_bridge is not None:
        error_type, message = _text_of_attribute(of_bridge, "error_type"), _text_of_attribute(of_bridge, "message")
        stacktrace = _text_of_attribute(of_bridge, "remote_traceback")
        details = _details_of(of_bridge)
    if raised_by_tool:
        if details.get("origin") == "bridge":
            # These describe a call that the tool made, not the tool itself.
            for name in ("started", "waited_for"):
                details.pop(name, None)
        details["origin"] = "tool"
        if show_traceback and not stacktrace:
            stacktrace = format_tool_traceback(error)
    else:
        details.setdefault("origin", "bridge")
    info = ErrorInfo(
        type=wire_text(error_type or class_name(type(error)), 256),
        message=_message(message or own_text(error), further_text(error) if raised_by_tool else ""),
        stacktrace=wire_text(stacktrace, MAX_STACKTRACE_CHARS),
        retryable=_is_retryable(error, raised_by_tool=raised_by_tool),
    )
    for name, value in details.items():
        info.details[wire_text(name, 256)] = wire_text(value, MAX_DETAIL_CHARS)
    if of_bridge is not None and not info.retryable and error_rule(info.type, origin=details["origin"]).retryable:
        # The flag alone cannot say so: it is false where a peer leaves it out, too.
        info.details[NOT_RETRYABLE] = "false"
    info.timestamp.GetCurrentTime()
    return info


def _text_of_attribute(error: ToolBridgeError, name: str) -> str:
    """Reads an attribute that should be a text; a subclass may have any value there. Empty if it is missing or None."""
    try:
        value = getattr(error, name)
    except BaseException:  # noqa: BLE001 - one that is missing hides nothing of the rest
        return ""
    if value is None:
        return ""
    return exact_text(value) if issubclass(type(value), str) else text_of(value)


def _details_of(error: ToolBridgeError) -> dict[str, str]:
    """Reads as many details as are sent; ``origin`` is always among them if it is present."""
    details: dict[str, str] = {}
    try:
        given: Any = error.details
        if not issubclass(type(given), Mapping):
            return {"details": text_of(given)}
        for name, value in islice(given.items(), MAX_DETAILS):
            details[text_of(name)] = text_of(value)
        if "origin" not in details and (origin := given.get("origin")) is not None:
            details["origin"] = text_of(origin)
    except BaseException as failure:  # noqa: BLE001 - likewise
        details["details"] = no_text(failure)
    while len(details) >= MAX_DETAILS and "origin" not in details:
        details.popitem()
    return details


def _is_retryable(error: BaseException, *, raised_by_tool: bool) -> bool:
    of_bridge = issubclass(type(error), ToolBridgeError)
    if raised_by_tool and of_bridge:
        # That a nested call may be retried does not mean that its caller may be.
        return False
    try:
        return getattr(error, "retryable", False) is True
    except BaseException:  # noqa: BLE001 - likewise
        return False


def error_from_info(info: Any, tool_name: str | None = None) -> ToolBridgeError:
    """Maps an error from the wire back to an exception.

    Args:
        info: An ErrorInfo, or any object with the texts ``type`` and ``message``. Other attributes that are missing or
            of the wrong type are ignored.
        tool_name: Name of the tool that was called; None for other calls.

    Returns:
        A ToolExecutionError if a tool was called, else an error of the class for this type.

    Raises:
        ProtocolError: ``type`` or ``message`` is missing or not a text.
    """
    error_type, message = getattr(info, "type", None), getattr(info, "message", None)
    if not isinstance(error_type, str) or not error_type or not isinstance(message, str):
        what = "message" if isinstance(error_type, str) and error_type else "type"
        raise ProtocolError(f"the answer to {tool_name or 'a call'} reports a failure, but has no error.{what}")
    raw_details = getattr(info, "details", None)
    details: dict[str, str] = {}
    if isinstance(raw_details, Mapping):
        details = {key: value for key, value in raw_details.items() if isinstance(key, str) and isinstance(value, str)}
    stacktrace = getattr(info, "stacktrace", "")
    retryable = getattr(info, "retryable", None)
    facts: dict[str, Any] = {
        "details": details,
        "remote_traceback": stacktrace if isinstance(stacktrace, str) else "",
        "retryable": retryable if isinstance(retryable, bool) else None,
    }
    # The types of the table have this flag even if a peer leaves it out, unless it says that this error has it not.
    if facts["retryable"] is False and error_rule(error_type, origin=details.get("origin", "bridge")).retryable:
        facts["retryable"] = details.pop(NOT_RETRYABLE, "") != "false"
    if tool_name is not None:
        of_bridge = details.get("origin", "bridge") == "bridge"
        timed_out = error_type == "TimeoutError" and of_bridge
        return (ToolTimeoutError if timed_out else ToolExecutionError)(tool_name, error_type, message, **facts)
    return _CLASS_OF.get(error_type, ToolBridgeError)(message, error_type=error_type, **facts)


def format_tool_traceback(error: BaseException) -> str:
    """Formats the traceback of a tool's exception, without the bridge's own frames above the tool's."""
    return format_error(error, tools_part(error))


def wire_text(text: str, limit: int) -> str:
    """Clips ``text`` to ``limit`` characters for a protobuf string, and escapes lone surrogates."""
    text = clipped(exact_text(text), limit)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _message(text: str, further: str) -> str:
    """Joins an error's text and the lines below it; the text is clipped to make room."""
    return wire_text(text, MAX_MESSAGE_CHARS - len(further)) + wire_text(further, len(further))


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _recreated(kind: type[ToolBridgeError], args: tuple[Any, ...]) -> ToolBridgeError:
    """Recreates an error for pickle and copy, which then set its attributes."""
    error = kind.__new__(kind)
    error.args = args
    return error
