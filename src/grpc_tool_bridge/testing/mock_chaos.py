"""Faults that a mock server injects into its prepared answers."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from grpc_tool_bridge.core.chaos.injections import Injection
from grpc_tool_bridge.core.chaos.reading import ChaosSource, read_chaos
from grpc_tool_bridge.core.chaos.rules import Failure, Rule
from grpc_tool_bridge.errors import error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    InitializeSessionRequest,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.runner.error_formatter import FormattedError, ToolRaised


class MockChaos:
    """Injects faults into the answers to ExecuteTool and StreamTool.

    Args:
        source: The rules, as for a hub.

    Raises:
        ValidationError: A rule is not valid.
        OSError: The file cannot be read.
    """

    def __init__(self, source: ChaosSource) -> None:
        self._chaos = read_chaos(source)
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def answer(self, request: Message, context: grpc.ServicerContext, answer: Callable[[], Message]) -> Message:
        """Returns what ``answer`` does, or an error in its place."""
        injection = self._draw(request)
        if injection is None:
            return answer()
        _sleep(injection.latency(), context)
        error = _failed(injection, injection.failure("before"), context)
        if error is None:
            sent = answer()
            error = _failed(injection, injection.failure("after"), context)
            if error is None:
                return sent
        return ToolCallResponse(error=error)

    def stream(self, request: Message, context: grpc.ServicerContext, chunks: Iterator[Message]) -> Iterator[Message]:
        """Yields the chunks, as far as the stream goes on."""
        injection = self._draw(request)
        if injection is None or not isinstance(request, ToolStreamRequest):
            yield from chunks
            return
        _sleep(injection.latency(), context)
        error = _failed(injection, injection.failure("before"), context)
        sent = 0
        while error is None:
            error = _failed(injection, injection.truncation(sent), context)
            chunk = next(chunks, None) if error is None else None
            if chunk is None:
                error = error or _failed(injection, injection.failure("after"), context)
                break
            _sleep(injection.chunk_latency(sent), context)
            yield chunk
            sent += 1
        if error is not None:
            yield ToolStreamChunk(stream_id=request.stream_id, sequence=sent, error=error)

    def _draw(self, request: Message) -> Injection | None:
        with self._lock:
            if isinstance(request, InitializeSessionRequest):
                self._sessions[request.session_id] = _Session(request.session_id, request.metadata)
            if not isinstance(request, ToolCallRequest | ToolStreamRequest):
                return None
            session = self._sessions.setdefault(request.session_id, _Session(request.session_id, {}))
            return self._chaos.draw(self._chaos.rules_of(request.tool_id), request.tool_id, session)


class _Session:
    """A session of the mock server."""

    def __init__(self, session_id: str, metadata: Mapping[str, str]) -> None:
        self.id = session_id
        self.metadata: Mapping[str, str] = dict(metadata)


def _sleep(seconds: float, context: grpc.ServicerContext) -> None:
    left: Any = context.time_remaining()
    time.sleep(seconds if left is None else min(seconds, max(0.0, left)))


def _failed(
    injection: Injection, failure: tuple[Rule, Failure] | None, context: grpc.ServicerContext
) -> ErrorInfo | None:
    """Returns the error of a failure; a connection that is dropped ends the RPC."""
    if failure is None:
        return None
    rule, how = failure
    injection.failed(rule, how)
    if not how.error:
        context.abort(grpc.StatusCode.UNAVAILABLE, f"the chaos rule {rule.name!r} has dropped the connection")
    error = how.exception(rule.name)
    if isinstance(error, ToolRaised) and isinstance(error.error, FormattedError):
        return error.error.info
    return error_info(error)
