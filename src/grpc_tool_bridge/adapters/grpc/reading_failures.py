"""Why a gRPC service could not be read, and whether it may be later."""

import re
from dataclasses import dataclass
from typing import Any

import grpc.aio

from grpc_tool_bridge.adapters.grpc.bounds import Bounds, one_line
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError, ValidationError

_MAX_TEXT_CHARS = 500
# What no restart of the service changes: the certificate or the settings are wrong.
_OF_TLS = re.compile(r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|Hostname Verification|certificate", re.IGNORECASE)
_TLS_HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted; name its authority as tls_ca"),
    ("Hostname Verification", "its certificate is for another name; give that as tls_server_name"),
    ("WRONG_VERSION_NUMBER", "it does not use TLS at this port"),
)
_LAST_ERROR = re.compile(r"failed to connect to all addresses; last error: (?:\w+: )?")

_HINTS = {
    grpc.StatusCode.UNAUTHENTICATED: "give it a token as metadata",
    grpc.StatusCode.PERMISSION_DENIED: "its metadata does not admit this",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "raise max_message_bytes, or describe it by a descriptor set",
}


@dataclass(frozen=True, slots=True)
class ReadingFailure:
    """Why a service could not be read.

    Attributes:
        text: Why, for people.
        is_away: Whether it is not there, so that its calls fail, too.
        is_final: Whether it makes no sense to try again, where it has never been read.
        error: The error of the bridge that says so, if there is one.
    """

    text: str
    is_away: bool = False
    is_final: bool = True
    error: ToolBridgeError | None = None

    def error_of(self, service: str) -> ToolBridgeError:
        """Returns the error for ``start``."""
        text = f"gRPC service {service}: {self.text}"
        return ValidationError(text) if isinstance(self.error, ValidationError) else UnavailableError(text)


def reading_failure(error: Exception, bounds: Bounds, *, is_connected: bool) -> ReadingFailure:
    """Reads what a reading has raised.

    Args:
        error: The error.
        bounds: Those of the service.
        is_connected: Whether the connection is there.
    """
    if isinstance(error, ToolBridgeError):
        return ReadingFailure(one_line(error.message, _MAX_TEXT_CHARS), error=error)
    if isinstance(error, ImportError):
        return ReadingFailure(str(error))
    is_late = isinstance(error, TimeoutError)
    if isinstance(error, grpc.aio.AioRpcError):
        code, said = error.code(), one_line(error.details() or "", _MAX_TEXT_CHARS)
        is_late = code == grpc.StatusCode.DEADLINE_EXCEEDED
        if code == grpc.StatusCode.UNAVAILABLE:
            text = _LAST_ERROR.sub("", said) or "the connection was lost"
            hint = next((f"{hint} ({text})" for what, hint in _TLS_HINTS if what.lower() in said.lower()), text)
            return ReadingFailure(hint, is_away=True, is_final=bool(_OF_TLS.search(said)))
        if not is_late:
            hint = f"; {_HINTS[code]}" if code in _HINTS else ""
            return ReadingFailure(f"it answers {code.name}: {said}{hint}")
    if is_late and not is_connected:
        return ReadingFailure(f"no connection within {bounds.start_seconds:g} s", is_away=True, is_final=False)
    if is_late:
        return ReadingFailure(f"it did not describe itself within {bounds.start_seconds:g} s")
    return ReadingFailure(f"it cannot be read: {type(error).__name__}: {one_line(str(error), _MAX_TEXT_CHARS)}")


async def probe(channel: grpc.aio.Channel, bounds: Bounds) -> None:
    """Finds out whether anybody answers at the end of a channel, and be it that there is no health service.

    Raises:
        grpc.aio.AioRpcError: Nobody does; its code is UNAVAILABLE or DEADLINE_EXCEEDED.
    """
    try:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        await check(b"", timeout=bounds.start_seconds)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
