"""Calls with an idempotency key, which run once per session."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.expiring_lru import ExpiringLRU
from grpc_tool_bridge.core.fingerprint import fingerprint
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.names import check_name
from grpc_tool_bridge.core.stored import StoredCall
from grpc_tool_bridge.core.writes import STORED, Write
from grpc_tool_bridge.errors import (
    ConflictError,
    DeadlineExceededError,
    ResourceExhaustedError,
    ToolBridgeError,
    UnavailableError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.budgets import Budget

_log = logging.getLogger(__name__)


class _Running:
    """A running call: the digest of its request and, once it has ended, its outcome and whether that is kept."""

    __slots__ = ("ended", "is_kept", "outcome", "used_for")

    def __init__(self, used_for: bytes) -> None:
        self.used_for = used_for
        self.is_kept = False
        self.ended = asyncio.Event()
        self.outcome: ToolCallResponse | None = None


class _Answered(NamedTuple):
    used_for: bytes
    answer: ToolCallResponse


class KeyedCalls:
    """The calls of one session that have a key: running calls and kept answers.

    With a durable store, the beginning of a call is stored before its tool runs, and its answer before its caller gets
    it. So a key has one effect also if the hub ends meanwhile: whether a call that was running then had its effect is
    not known, and its key is refused, unless the tool is idempotent.

    Args:
        session_id: The session.
        settings: Time, number and bytes of answers to keep, and the number of calls that may wait.
        memory: The session's budget.
        durable: Keeps beginnings and answers, if set.

    Attributes:
        durable: As given; None once the end of the session is on its way into the store, which takes all of it.
        moved: Why another hub has the session now; empty: none has.
    """

    def __init__(
        self, session_id: str, settings: Settings, memory: Budget | None = None, durable: DurableStore | None = None
    ) -> None:
        self._session_id = session_id
        self.durable = durable
        self.moved = ""
        self._running: dict[str, _Running] = {}
        self._answered: ExpiringLRU[str, _Answered] = ExpiringLRU(
            ttl=settings.answer_ttl,
            max_entries=settings.max_session_answers,
            max_bytes=settings.max_session_answer_bytes,
            memory=memory,
        )
        self._max_bytes = settings.max_session_answer_bytes
        self._waiting = 0
        self._max_waiting = settings.max_session_waiting

    def leave(self, error: ToolBridgeError | None) -> None:
        """Stores nothing more: the session has ended or, with an UnavailableError, is another hub's."""
        self.durable = None
        if isinstance(error, UnavailableError):
            self.moved = error.message

    async def run(
        self,
        request: ToolCallRequest,
        call: Callable[[], Awaitable[ToolCallResponse]],
        *,
        until: float,
        again: bool = False,
        caller: str = "",
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
            again: Whether the call may run again if the hub ended while it ran: its tool is idempotent.
            caller: As for ``fingerprint``.

        Raises:
            ConflictError: The key was used by another caller, for another tool or other arguments, or for a call that
                was running when the hub ended (IdempotencyConflict).
            DeadlineExceededError: The running call with this key did not end in time.
            ResourceExhaustedError: Too many calls of the session wait for one with their key.
            ValidationError: The key is not valid.
        """
        key = request.idempotency_key
        check_name(key, "an idempotency key")
        asked_for = fingerprint(request, caller)
        while (known := self._running.get(key) or self._answered.get(key)) is not None:
            if known.used_for != asked_for:
                raise _used_otherwise(key)
            answer = known.answer if isinstance(known, _Answered) else await self._outcome(known, request, until)
            if answer is not None:
                return _repeated(answer, request.request_id)
        running = self._running[key] = _Running(asked_for)
        if self.durable is not None:
            return await self._run_durably(request, running, call, self.durable, until=until, again=again)
        try:
            return await self._run(key, running, call)
        finally:
            self._release(key)

    async def settle(self) -> None:
        """Waits until no call runs, and what became of each is with the store."""
        while self._running:
            await next(iter(self._running.values())).ended.wait()

    def _release(self, key: str) -> None:
        """Lets others have a key."""
        self._running.pop(key).ended.set()

    async def _run(
        self, key: str, running: _Running, call: Callable[[], Awaitable[ToolCallResponse]]
    ) -> ToolCallResponse:
        """Makes the call, and keeps its outcome."""
        answer = await call()
        if _is_of_the_tool(answer):
            running.outcome = _repeated(answer, "")
            if not answer.error.retryable:
                self._answered.keep(key, _Answered(running.used_for, running.outcome), answer.ByteSize())
                running.is_kept = answer.ByteSize() <= self._max_bytes
        return answer

    async def _run_durably(
        self,
        request: ToolCallRequest,
        running: _Running,
        call: Callable[[], Awaitable[ToolCallResponse]],
        durable: DurableStore,
        *,
        until: float,
        again: bool,
    ) -> ToolCallResponse:
        """Makes a call once its beginning is stored, and returns once its outcome is."""
        key = request.idempotency_key
        beginning = asyncio.ensure_future(durable.begin_call(self._session_id, key, running.used_for, again=again))
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                earlier = await asyncio.shield(beginning)
        except (TimeoutError, asyncio.CancelledError) as error:
            # It may begin all the same, and nobody else can have the key before that is known.
            beginning.add_done_callback(partial(self._begun_in_vain, key))
            if isinstance(error, TimeoutError):
                raise DeadlineExceededError(
                    f"{request.tool_id}: the hub could not store in time that the call begins; call again later",
                    details={"started": "false"},
                ) from None
            raise
        except BaseException:
            self._release(key)
            raise
        if earlier is not None:
            try:
                return _repeated(self._answer_of(key, running, earlier), request.request_id)
            finally:
                self._release(key)
        is_shared = self.durable is not None and self.durable.is_shared
        try:
            answer = await self._run(key, running, call)
        finally:
            # Whoever wants the key next finds there what became of this call, also if its caller has gone.
            ending = self._ended(key, running)
        unstored = ""
        try:
            await ending
        except ToolBridgeError as error:
            unstored = error.message if is_shared else ""
        if running.is_kept and (unstored or self.moved):
            # Another hub may answer the next call with the key, and knows nothing of this answer.
            raise UnavailableError(
                f"{request.tool_id}: the tool has run, but its answer could not be stored ({unstored or self.moved}); "
                "call again with the same key"
            )
        return answer

    def _begun_in_vain(self, key: str, beginning: "asyncio.Future[StoredCall | None]") -> None:
        """Frees a key for which a call began whose caller had gone before."""
        failed = beginning.cancelled() or beginning.exception() is not None
        if not failed and beginning.result() is None and self.durable is not None:
            self.durable.free_call(self._session_id, key)
        self._release(key)

    def _ended(self, key: str, running: _Running) -> Write:
        """Stores the outcome of a call, or that it has none; then others have its key."""
        if self.durable is None or running.outcome is None or not running.is_kept:
            self._release(key)
            return STORED if self.durable is None else self.durable.free_call(self._session_id, key)

        def settled(error: ToolBridgeError | None) -> None:
            if error is not None:
                # The tool has run, and its caller has more from its answer than from an error.
                _log.warning("the answer of a call with an idempotency key is kept in memory only: %s", error)
            self._release(key)

        return self.durable.keep_answer(self._session_id, key, running.outcome, settled)

    def _answer_of(self, key: str, running: _Running, earlier: StoredCall) -> ToolCallResponse:
        """Returns the answer of a call that an earlier life of the hub began."""
        if earlier.used_for != running.used_for:
            raise _used_otherwise(key)
        if earlier.answer is None:
            raise ConflictError(
                f"the hub ended while the call with the idempotency key {key!r} ran, and whether its tool had its "
                "effect is not known; find out, then call with a new key",
                error_type="IdempotencyConflict",
                details={"outcome": "unknown"},
            )
        running.outcome = earlier.answer
        self._answered.keep(key, _Answered(running.used_for, earlier.answer), earlier.answer.ByteSize())
        return earlier.answer

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


def _used_otherwise(key: str) -> ConflictError:
    return ConflictError(
        f"the idempotency key {key!r} was used for another tool, other arguments or another caller; use a new key",
        error_type="IdempotencyConflict",
    )


def _is_of_the_tool(answer: ToolCallResponse) -> bool:
    return answer.success or answer.error.details.get("origin") == "tool"


def _repeated(answer: ToolCallResponse, request_id: str) -> ToolCallResponse:
    copy = ToolCallResponse()
    copy.CopyFrom(answer)
    # Without an id of its own, it has that of the call that ran.
    copy.request_id = request_id or copy.request_id
    return copy
