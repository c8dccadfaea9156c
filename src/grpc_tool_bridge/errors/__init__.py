"""Errors: the tree, the table, and the one way between an exception and the wire.

::

    ToolBridgeError
    ├── ToolExecutionError            a tool call was answered with an error
    │   └── ToolTimeoutError          … that its time was over (also a TimeoutError)
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
    ├── AccessError                   PermissionDenied, Unauthenticated
    ├── UnimplementedError            Unimplemented
    └── InternalError                 a fault of the bridge

Every error carries its ``error_type``, the name in the table that a peer in any language sees. ``error_info`` maps an
exception to the wire, ``error_from_info`` maps it back; nothing else does.
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

# A message or a traceback beyond this says nothing more to its reader, and must not fill a frame.
MAX_MESSAGE_CHARS = 16_384
MAX_STACKTRACE_CHARS = 65_536
MAX_DETAIL_CHARS = 4_096
MAX_DETAILS = 64


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What an error type is called at the edges.

    Attributes:
        status: Name of the gRPC status.
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

# Of an exception class that a tool raised.
TOOL_RAISED = ErrorRule("UNKNOWN", 500)


def error_rule(error_type: str, *, origin: str = "bridge") -> ErrorRule:
    """Looks up how ``error_type`` is called at the edges; a tool's own exception is UNKNOWN whatever its name."""
    return TOOL_RAISED if origin == "tool" else ERROR_TABLE.get(error_type, TOOL_RAISED)


class ToolBridgeError(Exception):
    """Base of every error of the bridge.

    It can be pickled and copied with all that it has, and so can a subclass, whatever its ``__init__`` takes.

    Args:
        message: What was wrong and what to do.
        error_type: Name in the error table; the class's own where not given.
        details: Further facts, by name.
        retryable: Whether the same call may succeed later; by the table where not given.
        remote_traceback: Traceback of the process where it happened, where that process shows it.

    Attributes:
        message, error_type, details, retryable, remote_traceback: as given.
    """

    default_type: ClassVar[str] = "InternalError"
    # What a subclass has that does not call ``__init__``.
    message: str = ""
    error_type: str = ""
    details: Any = MappingProxyType({})
    retryable: bool = False
    remote_traceback: str = ""

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
        # An exception would else be made again by its class with ``args``, which are not what ``__init__`` takes.
        slots = (slot for kind in type(self).__mro__ for slot in _slots_of(kind) if hasattr(self, slot))
        state = {slot: getattr(self, slot) for slot in slots} | self.__dict__
        return _made_again, (type(self), self.args), state

    def __repr__(self) -> str:
        error_type = self.error_type or self.default_type
        named = "" if error_type == type(self).__name__ else f", error_type={error_type!r}"
        return f"{type(self).__name__}({self.message or str(self)!r}{named})"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next try, where the answer names them."""
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
        error_type: Class name of what the tool raised, or a name of the error table.
        message: The error's message.
        details: Further facts by name; ``origin`` is "tool" where the tool raised it, else "bridge".
        retryable: Whether the same call may succeed later.
        remote_traceback: The tool's traceback, where the hub is set to show it.
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
        # The bridge's own texts begin with the tool's name, for those who see nothing but the message.
        message = self.message.removeprefix(f"{self.tool_name}: ")
        return f"{self.tool_name}: {self.error_type}: {message}" if message else f"{self.tool_name}: {self.error_type}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tool_name!r}, {self.error_type!r}, {self.message!r})"


class ToolTimeoutError(ToolExecutionError, TimeoutError):
    """The hub answered that the call's time was over."""


class ToolCommunicationError(ToolBridgeError):
    """A call was not answered: the hub is not there, the connection broke, or the answer took too long.

    Args:
        tool_name: The tool's name, or the method's for a call that is no tool's.
        code: A ``grpc.StatusCode``.
        details: What the transport says.
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
    """The hub has never known a session of this id, or has long forgotten it."""

    default_type = "SessionNotFound"


class SessionExpiredError(SessionError, NotFoundError):
    """The session has ended: it was removed, or idle for too long."""

    default_type = "SessionExpired"


class AlreadyExistsError(ToolBridgeError, ValueError):
    """The name is taken."""

    default_type = "AlreadyExists"


class ValidationError(ToolBridgeError, ValueError):
    """A request or its arguments are wrong; ``details`` says what, by name."""

    default_type = "ValidationError"


class ArgumentTypeError(ValidationError, TypeError):
    """An argument of the API is of the wrong type."""


class SerializationError(ToolBridgeError, ValueError):
    """A value cannot be represented on the wire, or bytes from the wire are no value."""

    default_type = "SerializationError"


class ConflictError(ToolBridgeError):
    """Somebody else was faster: another revision, or other arguments under the same idempotency key."""

    default_type = "RevisionConflict"


class ResourceExhaustedError(ToolBridgeError):
    """A limit is reached; ``retry_after`` says when to try again, where that is known."""

    default_type = "ResourceExhausted"


class MessageTooLargeError(ResourceExhaustedError):
    """A message is over the limit."""

    default_type = "MessageTooLarge"

    @classmethod
    def of(cls, what: str, size: int, limit: int) -> "MessageTooLargeError":
        """Makes the error for ``what`` of ``size`` bytes over ``limit`` bytes."""
        return cls(
            f"message too large: {what} takes {size:,} bytes, the limit is {limit:,}; "
            "stream it in parts, or raise max_message_bytes at both ends",
            details={"size": str(size), "limit": str(limit)},
        )


class DeadlineExceededError(ToolBridgeError, TimeoutError):
    """The call's time was over."""

    default_type = "TimeoutError"


class CallCancelledError(ToolBridgeError):
    """The call was cancelled: by its caller, with its session, or by the hub's shutdown."""

    default_type = "Cancelled"


class UnavailableError(ToolBridgeError):
    """Nobody is there to run the call now."""

    default_type = "WorkerUnavailable"


class AccessError(ToolBridgeError):
    """The caller may not do this, or did not say who it is."""

    default_type = "PermissionDenied"


class UnimplementedError(ToolBridgeError):
    """This hub does not offer the method; or a tool asks a caller that cannot answer."""

    default_type = "Unimplemented"


class InternalError(ToolBridgeError):
    """A fault of the bridge; its log has the traceback under ``details["error_id"]``."""

    default_type = "InternalError"

    @classmethod
    def new(cls) -> "InternalError":
        """Makes one with a fresh id and the fixed message that a peer may see."""
        error_id = uuid.uuid4().hex[:12]
        return cls(f"internal error of the bridge; its log has it as {error_id}", details={"error_id": error_id})


# Each class by its own type, and some by further ones.
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
    """Maps an exception to the wire. It raises nothing, whatever the exception is made of.

    An exception of a tool may run any code where it is put into words; ``plain_errors.is_plain`` tells whether it does.

    Args:
        error: The exception.
        raised_by_tool: Whether it left a tool. A tool's own exception keeps its class name and its message, with its
            notes, its causes and the members of a group below (``exception_text``); of any other exception that is not
            the bridge's, nothing but an id to look up is told.
        show_traceback: Whether the traceback of a tool's exception may be seen by the caller.

    Returns:
        The message for a response, or for the trailing metadata of a status.
    """
    if raised_by_tool:
        error = as_raised(error)
    elif not issubclass(type(error), ToolBridgeError):
        error = InternalError.new()
    try:
        return _told(error, raised_by_tool=raised_by_tool, show_traceback=show_traceback)
    except BaseException as failure:  # noqa: BLE001 - as a broken __str__, it must not hide the error that it belongs to
        return untold(error, no_text(failure), origin="tool" if raised_by_tool else "bridge")


def untold(error: BaseException, text: str, *, origin: str = "tool") -> ErrorInfo:
    """Maps an exception to the wire by its class alone, whose name is read without running any code of its own.

    ``text`` stands in the place of its message; ``origin`` is "tool" or "bridge".
    """
    info = ErrorInfo(type=wire_text(class_name(type(error)), 256), message=text, details={"origin": origin})
    info.timestamp.GetCurrentTime()
    return info


def _told(error: BaseException, *, raised_by_tool: bool, show_traceback: bool) -> ErrorInfo:
    """Asks an exception what it says; where it is no error of the bridge, it is a tool's."""
    of_bridge: Any = error if issubclass(type(error), ToolBridgeError) else None
    error_type, message, stacktrace, details = "", "", "", {}
    if of_bridge is not None:
        error_type, message = _text_of_attribute(of_bridge, "error_type"), _text_of_attribute(of_bridge, "message")
        stacktrace = _text_of_attribute(of_bridge, "remote_traceback")
        details = _details_of(of_bridge)
    if raised_by_tool:
        if details.get("origin") == "bridge":
            # Of a call that the tool made: it is not the tool itself that never began.
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
    info.timestamp.GetCurrentTime()
    return info


def _text_of_attribute(error: ToolBridgeError, name: str) -> str:
    """Reads what should be a text, of a subclass that may have made anything of it; empty where it is none."""
    try:
        value = getattr(error, name)
    except BaseException:  # noqa: BLE001 - one that is missing hides nothing of the rest
        return ""
    if value is None:
        return ""
    return exact_text(value) if issubclass(type(value), str) else text_of(value)


def _details_of(error: ToolBridgeError) -> dict[str, str]:
    """Reads the details, as many as travel; ``origin`` is always among them where it is there at all."""
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
        # What made a nested call worth repeating does not make its caller so.
        return False
    try:
        return getattr(error, "retryable", False) is True
    except BaseException:  # noqa: BLE001 - likewise
        return False


def error_from_info(info: Any, tool_name: str | None = None) -> ToolBridgeError:
    """Maps an error from the wire back to an exception.

    Args:
        info: An ErrorInfo, or anything with a text ``type`` and a text ``message``; other attributes that are missing
            or of the wrong type count as absent.
        tool_name: Name of the tool that was called; None for a call that is no tool's.

    Returns:
        A ToolExecutionError where a tool was called, else the error of the tree that has this type.

    Raises:
        ProtocolError: ``type`` or ``message`` is missing or no text.
    """
    error_type, message = getattr(info, "type", None), getattr(info, "message", None)
    if not isinstance(error_type, str) or not error_type or not isinstance(message, str):
        what = "message" if isinstance(error_type, str) and error_type else "type"
        raise ProtocolError(f"the answer to {tool_name or 'a call'} reports a failure, but gives no error.{what}")
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
    # The table knows its own types, also where a peer leaves the flag out.
    if facts["retryable"] is False and error_rule(error_type, origin=details.get("origin", "bridge")).retryable:
        facts["retryable"] = True
    if tool_name is not None:
        of_bridge = details.get("origin", "bridge") == "bridge"
        timed_out = error_type == "TimeoutError" and of_bridge
        return (ToolTimeoutError if timed_out else ToolExecutionError)(tool_name, error_type, message, **facts)
    return _CLASS_OF.get(error_type, ToolBridgeError)(message, error_type=error_type, **facts)


def format_tool_traceback(error: BaseException) -> str:
    """Formats the traceback of a tool's exception, without the bridge's own frames above the tool's."""
    return format_error(error, tools_part(error))


def wire_text(text: str, limit: int) -> str:
    """Makes ``text`` fit for a protobuf string of at most ``limit`` characters (lone surrogates are escaped)."""
    text = clipped(exact_text(text), limit)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _message(text: str, further: str) -> str:
    """Joins an error's text and what is said below it; of both, the text gives way."""
    return wire_text(text, MAX_MESSAGE_CHARS - len(further)) + wire_text(further, len(further))


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _made_again(kind: type[ToolBridgeError], args: tuple[Any, ...]) -> ToolBridgeError:
    """Makes an error for pickle and copy, which then give it its attributes."""
    error = kind.__new__(kind)
    error.args = args
    return error
