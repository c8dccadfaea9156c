"""Calls with an idempotency key, which run once per session."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.expiring_lru import ExpiringLRU
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.names import check_name
from grpc_tool_bridge.errors import ConflictError, DeadlineExceededError, ResourceExhaustedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.budgets import Budget


class _Running:
    """A running call: the digest of its request and, once it has ended, its outcome."""

    __slots__ = ("ended", "outcome", "used_for")

    def __init__(self, used_for: bytes) -> None:
        self.used_for = used_for
        self.ended = asyncio.Event()
        self.outcome: ToolCallResponse | None = None


class _Answered(NamedTuple):
    used_for: bytes
    answer: ToolCallResponse


class KeyedCalls:
    """The calls of one session that have a key: running calls and kept answers.

    Args:
        settings: Time, number and bytes of answers to keep, and the number of calls that may wait.
        memory: The session's budget.
    """

    def __init__(self, settings: Settings, memory: Budget | None = None) -> None:
        self._running: dict[str, _Running] = {}
        self._answered: ExpiringLRU[str, _Answered] = ExpiringLRU(
            ttl=settings.answer_ttl,
            max_entries=settings.max_session_answers,
            max_bytes=settings.max_session_answer_bytes,
            memory=memory,
        )
        self._waiting = 0
        self._max_waiting = settings.max_session_waiting

    async def run(
        self, request: ToolCallRequest, call: Callable[[], Awaitable[ToolCallResponse]], *, until: float
    ) -> ToolCallResponse:
        """Makes the call, or returns the answer of an earlier call with the same key.

        While a call with the key runs, further ones wait, and get the outcome of its tool, a result or an error. If
        there is no outcome, because the bridge refused or ended the call or its caller left, the first of them makes
        the call, and the others continue to wait.

        The outcome is kept, unless it is an error that is marked retryable: then the key is free again.

        Args:
            request: The call, with its key.
            call: Makes the call.
            until: Time of the monotonic clock until which to wait for a running call with this key.

        Raises:
            ConflictError: The key was used for another tool or other arguments (IdempotencyConflict).
            DeadlineExceededError: The running call with this key did not end in time.
            ResourceExhaustedError: Too many calls of the session wait for one with their key.
            ValidationError: The key is not valid.
        """
        key = request.idempotency_key
        check_name(key, "an idempotency key")
        asked_for = fingerprint(request)
        while (known := self._running.get(key) or self._answered.get(key)) is not None:
            if known.used_for != asked_for:
                raise ConflictError(
                    f"the idempotency key {key!r} was used for another tool or other arguments; use a new key",
                    error_type="IdempotencyConflict",
                )
            answer = known.answer if isinstance(known, _Answered) else await self._outcome(known, request, until)
            if answer is not None:
                return _repeated(answer, request.request_id)
        return await self._run(key, asked_for, call)

    async def _run(
        self, key: str, asked_for: bytes, call: Callable[[], Awaitable[ToolCallResponse]]
    ) -> ToolCallResponse:
        running = self._running[key] = _Running(asked_for)
        try:
            answer = await call()
            if _is_of_the_tool(answer):
                running.outcome = _repeated(answer, "")
                if not answer.error.retryable:
                    self._answered.keep(key, _Answered(asked_for, running.outcome), answer.ByteSize())
        finally:
            del self._running[key]
            running.ended.set()
        return answer

    async def _outcome(self, running: _Running, request: ToolCallRequest, until: float) -> ToolCallResponse | None:
        """Waits until the call ends; returns the outcome of its tool, or None if there is none."""
        if self._waiting >= self._max_waiting:
            raise ResourceExhaustedError(
                f"session {request.session_id!r} has {self._waiting:,} calls waiting for one with their idempotency "
                "key, which is its limit; call again later",
                details={"retry_after": "1"},
            )
        self._waiting += 1
        seconds = until - time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await running.ended.wait()
        except TimeoutError:
            raise DeadlineExceededError(
                f"{request.tool_id}: the call that has this idempotency key did not end in the "
                f"{max(0.0, seconds):.3g} s of this one; call again later"
            ) from None
        finally:
            self._waiting -= 1
        return running.outcome


def _is_of_the_tool(answer: ToolCallResponse) -> bool:
    return answer.success or answer.error.details.get("origin") == "tool"


def _repeated(answer: ToolCallResponse, request_id: str) -> ToolCallResponse:
    copy = ToolCallResponse()
    copy.CopyFrom(answer)
    copy.request_id = request_id
    return copy
