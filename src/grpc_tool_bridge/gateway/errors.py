"""What a request fails with, as an HTTP response."""

import json
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from grpc_tool_bridge.errors import ToolBridgeError, error_from_info, error_info, error_rule
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.gateway.message_json import error_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, StatusResponse

REQUEST_ID = "x-request-id"
# When to try again where the error does not say it.
UNAVAILABLE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class JsonResponse(Response):
    """A response of JSON.

    Args:
        content: What it says.
        status: Its code.
        headers: Further ones.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        """Writes the body; the values in it have forms that JSON has."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class HttpError(ToolBridgeError):
    """A request that HTTP itself refuses.

    Args:
        status: The code.
        error_type: A name for programs.
        message: What was wrong and what to do.
        headers: Of the response.
    """

    def __init__(self, status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, error_type=error_type, retryable=False)
        self.status = status
        self.headers = dict(headers or {})


class ClientStalledError(Exception):
    """The client does not read its response."""


def status_of(info: ErrorInfo) -> int:
    """Returns the status code of an error, by the table of errors."""
    return error_rule(info.type, origin=info.details.get("origin", "bridge")).http


def headers_of(info: ErrorInfo) -> dict[str, str]:
    """Returns what else a response says of an error: when to try again."""
    status = status_of(info)
    after = error_from_info(info).retry_after if status in (429, 503) else None
    if after is None and status == HTTPStatus.SERVICE_UNAVAILABLE:
        # Another hub or worker may be there any moment.
        after = UNAVAILABLE_SECONDS
    return {} if after is None else {"Retry-After": str(math.ceil(after))}


def error_response(error: BaseException) -> JsonResponse:
    """Returns the response for the error that a request failed with; a fault of the bridge is logged."""
    info = error_info(error)
    if isinstance(error, HttpError):
        return JsonResponse({"error": error_json(info)}, error.status, error.headers)
    if not isinstance(error, ToolBridgeError):
        log_fault(_log, "fault in a request over HTTP: %s", info.message, error=error)
    return failed(info)


def failed(info: ErrorInfo) -> JsonResponse:
    """Returns the response for an error that the hub answered with."""
    return JsonResponse({"error": error_json(info)}, status_of(info), headers_of(info))


def status_response(response: StatusResponse) -> JsonResponse:
    """Returns the response for what the hub answers with a message or an error."""
    return JsonResponse({"message": response.message}) if response.success else failed(response.error)
