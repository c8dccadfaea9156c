"""Calls with an idempotency key: the same key and arguments in a session run once."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.variables import check_name
from grpc_tool_bridge.errors import ConflictError, DeadlineExceededError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolCallResponse


class _Entry:
    """One key: what it was used for and, once the call has ended, its answer."""

    __slots__ = ("answer", "ended", "fingerprint", "size")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.ended = asyncio.Event()
        self.answer: ToolCallResponse | None = None
        self.size = 0


class KeyedCalls:
    """The calls of one session that have a key: those that run, and the last answers.

    Args:
        settings: How many answers are kept, and how many bytes of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: dict[str, _Entry] = {}
        # The least recently asked for first.
        self._answered: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    async def run(
        self, request: ToolCallRequest, call: Callable[[], Awaitable[ToolCallResponse]], *, patience: float
    ) -> ToolCallResponse:
        """Makes the call, or gives the answer that a call with this key had.

        While the first one runs, the next waits for its answer. A call that the bridge refused or ended, and one whose
        error is marked retryable, leaves its key free: it may be tried again.

        Args:
            request: The call; it has a key.
            call: Makes it.
            patience: Seconds to wait for a call with this key that runs.

        Raises:
            ConflictError: The key was used for another tool or other arguments (IdempotencyConflict).
            DeadlineExceededError: The call that has this key takes too long.
            ValidationError: The key cannot be used.
        """
        key = request.idempotency_key
        check_name(key, "an idempotency key")
        fingerprint = _fingerprint(request)
        while (known := self._running.get(key) or self._answered.get(key)) is not None:
            if known.fingerprint != fingerprint:
                raise ConflictError(
                    f"the idempotency key {key!r} was used for another tool or other arguments; take a new key",
                    error_type="IdempotencyConflict",
                )
            if known.answer is not None:
                self._answered.move_to_end(key)
                return _repeated(known.answer, request.request_id)
            await _end_of(known, request.tool_id, patience)
        entry = self._running[key] = _Entry(fingerprint)
        try:
            answer = await call()
            if _is_final(answer):
                self._keep(key, entry, answer)
        finally:
            del self._running[key]
            entry.ended.set()
        return answer

    def _keep(self, key: str, entry: _Entry, answer: ToolCallResponse) -> None:
        size = answer.ByteSize()
        if size > self._settings.max_session_answer_bytes:
            return
        entry.answer, entry.size = _repeated(answer, ""), size
        self._answered[key] = entry
        self._bytes += size
        while (
            len(self._answered) > self._settings.max_session_answers
            or self._bytes > self._settings.max_session_answer_bytes
        ):
            _, dropped = self._answered.popitem(last=False)
            self._bytes -= dropped.size


async def _end_of(entry: _Entry, tool_id: str, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await entry.ended.wait()
    except TimeoutError:
        raise DeadlineExceededError(
            f"{tool_id}: the call that has this idempotency key did not end within {patience:g} s; ask again later"
        ) from None


def _is_final(answer: ToolCallResponse) -> bool:
    return answer.success or (answer.error.details.get("origin") == "tool" and not answer.error.retryable)


def _repeated(answer: ToolCallResponse, request_id: str) -> ToolCallResponse:
    copy = ToolCallResponse()
    copy.CopyFrom(answer)
    copy.request_id = request_id
    return copy


def _fingerprint(request: ToolCallRequest) -> bytes:
    call = ToolCallItem(tool_id=request.tool_id, args=request.args, kwargs=request.kwargs)
    return hashlib.sha256(call.SerializeToString(deterministic=True)).digest()
