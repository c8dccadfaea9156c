"""What a link holds for its peer: unanswered requests, and payloads of which only pieces have been received.

All of it is bounded, and charged to the budget if there is one.
"""

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.errors import ProtocolError, ResourceExhaustedError, ToolBridgeError, ValidationError
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.envelopes import PART_TAG, REPLY_TAG, payload_header
from grpc_tool_bridge.link.outbox import REASSEMBLY_BYTES, SMALL_BYTES, Lane, Outbox
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkEvent
from grpc_tool_bridge.rpc.budgets import Budget, Lease
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Buffers, Payload
from grpc_tool_bridge.rpc.context import RequestContext

# Of unanswered requests; further calls are refused.
MAX_INCOMING_BYTES = 256 * 1024 * 1024

# Pieces of incomplete payloads, of any size: each has an overhead.
MAX_PIECES = 64 * 1024

# Entries and characters of one call's metadata.
MAX_CALL_METADATA = 64
MAX_CALL_METADATA_CHARS = 8_192

# Calls that are remembered because a late envelope may still come.
MAX_REMEMBERED = 1_000

# The overhead of a link and of each call of its peer: tasks, stacks, bookkeeping.
LINK_BYTES = 64 * 1024
CALL_BYTES = 4 * 1024
# Smaller pieces, on average, are not kept: their overhead is no longer charged once they make a whole.
LEAST_PIECE_BYTES = 4 * 1024
# The overhead of a piece.
PIECE_BYTES = 64
# The budget is charged in steps of this size, so not for each small frame.
STEP_BYTES = 16 * 1024


class IncomingCall(RequestContext):
    """A call of the peer, and the context of its request.

    Attributes:
        id: On its link.
        method: The name in the service, such as "ExecuteTool".
        payload: The serialized request.
        timeout_ms: The remaining time; 0: as the request says.
        metadata: By name.
        cancelled: Whether the peer cancelled it.
        answered: Whether its reply or end was sent.
        held: Bytes that it is counted with.
        begun: Whether it is a large request that is being processed.
        task: The task that runs it.
        asker: See ``RequestContext``.
    """

    asker: LinkAsker | None = None
    system = "tool_bridge"

    cancelled = False
    answered = False
    task: Any = None
    begun = False
    _tag = REPLY_TAG
    _lane: Lane | None = None

    def __init__(
        self, call_id: int, method: str, payload: Payload, timeout_ms: int, metadata: Mapping[str, str], credit: int
    ) -> None:
        self.id = call_id
        self.method = method
        self.payload = payload
        self.size = self.held = len(payload)
        self.timeout_ms = timeout_ms
        self.metadata = metadata
        self._credit = credit

    @property
    def source(self) -> str:  # type: ignore[override]  # as an attribute, it would cost every call
        """See ``RequestContext``."""
        return getattr(self.peer, "source", "")

    def on_event(self, event: LinkEvent) -> None:
        """Called with each event of the caller: an answer to a question."""
        if self.asker is not None:
            self.asker.take(event.answer)

    def ask_nothing_more(self) -> None:
        """Withdraws its questions: the call is over, or the caller has gone."""
        asker, self.asker = self.asker, None
        if asker is not None:
            asker.close()

    def header(self, size: int) -> bytes:
        """See ``Sending``."""
        return payload_header(self._tag, self.id, size)

    def part_header(self, size: int) -> bytes:
        """See ``Sending``."""
        return payload_header(PART_TAG, self.id, size)


class Parts:
    """The pieces of an incomplete payload."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0


class RecentIds(OrderedDict[int, None]):
    """The ids of recent calls."""

    def add(self, call_id: int) -> None:
        """Adds a call, and evicts the oldest if there are too many."""
        self[call_id] = None
        if len(self) > MAX_REMEMBERED:
            self.popitem(last=False)


class Inbox:
    """The memory of one link.

    Args:
        outbox: What waits to be sent, which is counted as well.
        max_bytes: Of unanswered requests.
        capacity: Concurrent calls of the peer; 0: no limit.
        budget: Charged with all that the link holds; None: it is not counted.

    Attributes:
        calls: Unanswered calls of the peer, by id.
        bytes: Of unanswered requests.
        max_bytes, capacity: As given; ``sys.maxsize`` for no limit.
        assembling: Pieces of incomplete calls, by id.
        assembled: Bytes of all pieces, including those of answers.
        pieces: How many there are.
        cut: Calls that were refused while they came in pieces, and whose other pieces may still come.
        budget: As given; None once the link is over.
        full: The budget that had no room at the last check.
        last_id: Id of the peer's last call; all its ids are odd, or all are even.
    """

    last_id = 0

    def __init__(self, outbox: Outbox, *, max_bytes: int, capacity: int, budget: Budget | None) -> None:
        self.calls: dict[int, IncomingCall] = {}
        self.bytes = 0
        self.max_bytes = max_bytes
        self.capacity = capacity or sys.maxsize
        self.assembling: dict[int, Parts] = {}
        self.assembled = 0
        self.pieces = 0
        self.cut = RecentIds()
        self.budget = budget
        self.full: Budget | None = None
        self._outbox = outbox
        self._lease = Lease(budget, "a link") if budget is not None else None
        # Large requests that are being processed.
        self._begun = 0
        # Of a frame that has arrived in part.
        self._partial = 0

    @property
    def held_bytes(self) -> int:
        """What the link holds: requests, answers, pieces of both, a frame that is not complete, and their overhead."""
        outbox = self._outbox
        waiting = outbox.size + outbox.stalled + outbox.control_size
        own = LINK_BYTES + CALL_BYTES * len(self.calls) + PIECE_BYTES * self.pieces
        return self.bytes + self.assembled + self._partial + waiting + own

    def settle(self) -> None:
        """Charges the budget with what the link holds now."""
        if self._lease is None or self.budget is None:
            return
        held, charged = self.held_bytes, self._lease.size
        if self.full is None and charged - 2 * STEP_BYTES < held <= charged:
            return
        self._lease.set((held // STEP_BYTES + 1) * STEP_BYTES)
        self.full = self.budget.is_over()

    def hold_partial(self, size: int) -> None:
        """Charges the budget with what has arrived of a frame; 0: it is complete, and charged as it is processed."""
        self._partial = size
        if size:
            self.settle()

    def release(self) -> None:
        """Releases what was charged: the link is over."""
        if self._lease is not None:
            self._lease.release()
            self._lease = self.budget = None

    # ----------------------------------------------------------------------------------------------- ids

    def check_new(self, call_id: int) -> None:
        """Checks and stores the id of a new call; raises ProtocolError if it is not the next one."""
        if call_id <= self.last_id or call_id % 2 != self.last_id % 2:
            raise ProtocolError(
                f"a call came with the number {call_id}; the peer's last one was {max(self.last_id, 0)}, "
                "and numbers rise by two"
            )
        self.last_id = call_id

    def check_old(self, call_id: int, what: str) -> None:
        """Raises ProtocolError if the peer never made this call."""
        if not 0 < call_id <= self.last_id or call_id % 2 != self.last_id % 2:
            raise ProtocolError(f"a {what} came for the call {call_id}, which the peer never made")

    def asking_call(self, call_id: int) -> IncomingCall | None:
        """Returns the call of the peer that an answer is for; None if it asks nothing, or is over.

        Raises:
            ProtocolError: The peer never made this call.
        """
        call = self.calls.get(call_id)
        if call is None:
            self.check_old(call_id, "answer")
        return None if call is None or call.asker is None else call

    # ---------------------------------------------------------------------------------------------- requests

    def refusal(self, call: IncomingCall) -> ToolBridgeError | None:
        """Returns why a call, which is counted already, is refused; None if it is accepted."""
        if len(self.calls) > self.capacity:
            return _too_much(f"{self.capacity:,} concurrent calls")
        if self.bytes > self.max_bytes:
            return _too_much(f"{self.max_bytes:,} bytes of requests at once")
        if call.metadata and not _is_short(call.metadata):
            return ValidationError(
                f"the metadata of a call on a link has at most {MAX_CALL_METADATA} entries and "
                f"{MAX_CALL_METADATA_CHARS:,} characters; put what is larger into the context of the request"
            )
        if self.budget is not None and self._has_no_room_for(call):
            return self.refusal_for_room(call)
        return None

    def refusal_for_room(self, call: IncomingCall) -> ToolBridgeError | None:
        """Returns the error for a call for which the budget has no room; None if the link is over."""
        budget = self.budget
        if budget is None:
            return None
        return budget.refusal(budget.is_full_for(call.held) or budget, call.held, f"the request of {call.method[:100]}")

    def reserve(self, call: IncomingCall) -> bool:
        """Charges a large request once more, to process it; returns False if it has to wait for room."""
        budget = self.budget
        if budget is None or call.begun:
            return True
        self.settle()
        full = budget.is_full_for(call.held)
        if full is not None and (full is not budget or self._begun):
            return False
        self.reserve_anyway(call)
        return True

    def reserve_anyway(self, call: IncomingCall) -> None:
        """Charges a request that must not wait, because others wait for it."""
        call.begun = True
        self._begun += 1
        self.bytes += call.held
        call.held *= 2
        self.settle()

    def drop(self, call: IncomingCall) -> None:
        """Drops the request of a call that has its answer."""
        call.payload = b""
        self.bytes -= call.held
        call.held = 0
        if call.begun:
            call.begun = False
            self._begun -= 1

    def check_room(self, payload: Payload, what: str) -> None:
        """Raises ResourceExhaustedError if the budget has no room for a payload to send."""
        budget = self.budget
        if budget is None:
            return
        self.settle()
        full = budget.is_full_for(len(payload))
        if full is not None and (full is not budget or self._outbox.size + self._outbox.stalled):
            raise budget.refusal(full, len(payload), what)

    def _has_no_room_for(self, call: IncomingCall) -> bool:
        # Small requests are charged with their frame, large ones one by one.
        if call.held > SMALL_BYTES:
            self.settle()
            return self.full is not None
        return self.full is not None and self.full.is_full_for(0) is not None

    # ------------------------------------------------------------------------------------------------ pieces

    def add_piece(self, parts: Parts, piece: bytes | memoryview) -> None:
        """Adds a piece.

        Raises:
            ProtocolError: There are too many pieces, or they are too large.
        """
        parts.pieces.append(piece)
        parts.size += len(piece)
        self.assembled += len(piece)
        self.pieces += 1
        if self.assembled > REASSEMBLY_BYTES:
            raise ProtocolError(f"pieces of more than {REASSEMBLY_BYTES:,} bytes came before they made a whole")
        if self.pieces > MAX_PIECES:
            raise ProtocolError(f"more than {MAX_PIECES:,} pieces came before they made a whole; send larger ones")

    def join(self, parts: Parts, last: Payload) -> Payload:
        """Returns the payload made of its pieces and the last one; it is joined only if it or its pieces are small."""
        self.forget(parts)
        pieces = (*parts.pieces, *(last.buffers if isinstance(last, Buffers) else (last,)))
        size = parts.size + len(last)
        return Buffers(pieces) if size > max(LARGE_BYTES, len(pieces) * LEAST_PIECE_BYTES) else b"".join(pieces)

    def forget(self, parts: Parts | None) -> None:
        """Drops the pieces of a payload."""
        if parts is not None:
            self.assembled -= parts.size
            self.pieces -= len(parts.pieces)

    def cut_off(self, call_id: int, size: int) -> ToolBridgeError | None:
        """Returns the error for an incomplete call if the budget has no room; ``size`` is that of the next piece.

        Its later pieces are dropped.
        """
        if self.full is None or self.budget is None:
            return None
        parts = self.assembling.pop(call_id)
        self.forget(parts)
        self.cut.add(call_id)
        return self.budget.refusal(self.full, parts.size + size, "a request that came in pieces")


def _too_much(limit: str) -> ResourceExhaustedError:
    return ResourceExhaustedError(
        f"the link takes {limit}; call again when some were answered", details={"retry_after": "0.1"}
    )


def _is_short(metadata: Mapping[str, str]) -> bool:
    """Returns whether the metadata of a call is within its bounds."""
    if len(metadata) > MAX_CALL_METADATA:
        return False
    return sum(len(key) + len(text) for key, text in metadata.items()) <= MAX_CALL_METADATA_CHARS
