"""Calls with an idempotency key: the same key and arguments in a session run once."""

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
    """A call that runs: what its key is used for and, once it has ended, what the tool made of it."""

    __slots__ = ("ended", "outcome", "used_for")

    def __init__(self, used_for: bytes) -> None:
        self.used_for = used_for
        self.ended = asyncio.Event()
        self.outcome: ToolCallResponse | None = None


class _Answered(NamedTuple):
    used_for: bytes
    answer: ToolCallResponse


class KeyedCalls:
    """The calls of one session that have a key: those that run, and the last answers.

    Args:
        settings: How long answers are kept, how many, and how many bytes of them; and how many calls may wait.
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
        """Makes the call, or gives the answer that a call with this key had.

        While the first one runs, the next ones wait. What the tool made of it, a result or an error, is their answer
        too. Where the tool did not come to an end, because the bridge refused or ended the call or its caller left, the
        first of them makes the call, and the others go on waiting.

        What the tool made of a call is kept, except for an error that is marked retryable: that leaves the key free,
        and the call may be tried again.

        Args:
            request: The call; it has a key.
            call: Makes it.
            until: Time of the monotonic clock up to which to wait for calls with this key that run.

        Raises:
            ConflictError: The key was used for another tool or other arguments (IdempotencyConflict).
            DeadlineExceededError: The call that has this key takes too long.
            ResourceExhaustedError: Too many calls of the session wait for one with their key.
            ValidationError: The key cannot be used.
        """
        key = request.idempotency_key
        check_name(key, "an idempotency key")
        asked_for = fingerprint(request)
        while (known := self._running.get(key) or self._answered.get(key)) is not None:
            if known.used_for != asked_for:
                raise ConflictError(
                    f"the idempotency key {key!r} was used for another tool or other arguments; take a new key",
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
        """Waits until the call ends; returns what the tool made of it, None where it did not come to that."""
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
                f"{max(0.0, seconds):.3g} s of this one; ask again later"
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
