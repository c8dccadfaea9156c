"""The requests of RPCs: how many are read concurrently, and the memory of requests and answers.

gRPC receives a message whole, and does not tell its size before. So a hub reads a request itself, once the RPC was
admitted, a few of each connection at a time. Requests that do not arrive immediately are charged with the maximum size,
and are the first to be refused when memory is short. A request is charged to its connection until the answer was sent.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import grpc.aio

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    MessageTooLargeError,
    ResourceExhaustedError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.peers import Peer, Peers

# The overhead of an RPC: its tasks, their stacks, its metadata.
RPC_BYTES = 16 * 1024

# A larger request is charged twice, for its arguments too, and is processed when there is room for both.
CHARGED_TWICE_BYTES = 64 * 1024

# How often a request that waits for room checks the hub's memory again.
LOOK_SECONDS = 0.25


class Rpc:
    """The memory that one RPC holds.

    Args:
        peer: Its connection.
        peers: All connections.
        what: Its name in error texts.
    """

    __slots__ = ("_begun", "_held", "_peers", "peer", "what")

    def __init__(self, peer: Peer, peers: Peers, what: str) -> None:
        self.peer = peer
        self.what = what
        self._peers = peers
        self._held = 0
        self._begun = False

    def hold(self, size: int, what: str) -> None:
        """Sets what it holds to ``size`` bytes, besides its overhead.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        more = RPC_BYTES + size - self._held
        if more > 0:
            self.peer.budget.take(more, what)
        else:
            self.peer.budget.give_back(-more)
            self.peer.gave_back()
        self._held += more

    def begin(self, size: int) -> None:
        """Charges a large request again, to process it."""
        self.peer.budget.charge(size)
        self._held += size
        self._begun = True
        self.peer.begun += 1

    def answer(self, data: bytes) -> bytes:
        """Holds an answer instead of the request: its bytes, and gRPC's copy of them.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        if self._begun:
            self._begun = False
            self.peer.begun -= 1
        self.hold(2 * len(data), f"the answer of {self.what}")
        return data

    def hold_chunks(self, largest: int, before: int) -> None:
        """Holds the messages of a stream besides the request: one that is being sent, and the next one.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        more = 4 * (largest - before)
        self.peer.budget.take(more, f"a message of {self.what}")
        self._held += more

    def end(self, _: Any = None) -> None:
        """Releases what it holds; called by gRPC once the answer was sent, or the RPC was cancelled."""
        if self._begun:
            self._begun = False
            self.peer.begun -= 1
        self.peer.budget.give_back(self._held)
        self._held = 0
        self.peer.gave_back()
        self._peers.leave(self.peer)


class _Read:
    """One request that is being read."""

    __slots__ = ("began", "error", "peer", "reserved", "seen", "task")

    def __init__(self, peer: Peer, began: float) -> None:
        self.peer = peer
        self.began = began
        self.task = asyncio.current_task()
        self.seen = False
        self.reserved = 0
        self.error: ToolBridgeError | None = None

    def end(self, error: ToolBridgeError) -> None:
        """Ends the read with an error."""
        if self.error is None and self.task is not None:
            self.error = error
            self.task.cancel()


class Reads:
    """Reads the requests of RPCs.

    Args:
        peers: The connections.
        most: Maximum size of a request in bytes: gRPC's own limit.
        seconds: How long a request may take to arrive, including the wait for its turn.
        grace: Seconds before a request is charged; a small one has arrived by then.
        max_concurrent: Requests of all connections that are read concurrently; None: no limit.
    """

    def __init__(
        self, peers: Peers, most: int, *, seconds: float, grace: float = 0.05, max_concurrent: int | None = None
    ) -> None:
        self.peers = peers
        self.most = most
        self._seconds = seconds
        self._grace = grace
        self._max_concurrent = max_concurrent
        # Of each connection, so that stalled requests hold no more than a connection may.
        self._of_one = max(1, min(8, peers.limit // most)) if max_concurrent is None else 2
        self._open: dict[_Read, None] = {}
        # Requests that are being read, or whose turn it is.
        self._reads = 0
        self._waiting: dict[asyncio.Future[None], tuple[Peer, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, context: Any, what: str) -> Rpc:
        """Counts an RPC until it is done."""
        rpc = Rpc(self.peers.enter(context.peer()), self.peers, what)
        context.add_done_callback(rpc.end)
        return rpc

    async def request(self, context: Any, rpc: Rpc, *, most: int = 0) -> bytes:
        """Reads the request of an RPC and charges it.

        Args:
            context: Of the RPC.
            rpc: The RPC.
            most: Maximum size in bytes; 0: gRPC's own limit.

        Raises:
            ResourceExhaustedError: There is no room for it.
            DeadlineExceededError: It did not arrive in time.
            MessageTooLargeError: It is larger than ``most``.
            ValidationError: The RPC has no request.
        """
        data = await self.message(context, rpc.peer, rpc.what)
        if data is grpc.aio.EOF:
            raise ValidationError(f"{rpc.what} came without its request")
        size = len(data)
        if most and size > most:
            raise MessageTooLargeError.of(f"the request of {rpc.what}", size, most)
        rpc.hold(size, f"the request of {rpc.what}")
        if size > CHARGED_TWICE_BYTES:
            await self._begin(rpc, size)
        return data  # type: ignore[no-any-return]  # gRPC's, without a deserializer

    async def message(self, context: Any, peer: Peer, what: str) -> Any:
        """Reads one message in its turn; returns ``grpc.aio.EOF`` if there is none. Raises as ``request`` does."""
        came = asyncio.get_running_loop().time()
        if peer.reading >= self._of_one or peer.turns or self._is_full:
            await self._turn(peer, what)
        else:
            self._count(peer, 1)
        with self._reading(peer, came) as read:
            try:
                return await context.read()
            except asyncio.CancelledError:
                if read.error is None or read.task is None:
                    raise
                read.task.uncancel()
                raise read.error from None

    @property
    def _is_full(self) -> bool:
        return self._max_concurrent is not None and self._reads >= self._max_concurrent

    def _count(self, peer: Peer, more: int) -> None:
        self._reads += more
        peer.reading += more

    @contextlib.contextmanager
    def _reading(self, peer: Peer, came: float) -> Iterator[_Read]:
        read = _Read(peer, came)
        self._open[read] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._look)
        try:
            yield read
        finally:
            del self._open[read]
            self._count(peer, -1)
            if read.reserved:
                peer.budget.give_back(read.reserved)
                peer.gave_back()
            if self._waiting:
                self._next(peer)

    async def _turn(self, peer: Peer, what: str) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        peer.turns.append(turn)
        self._waiting[turn] = (peer, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(self._grace, self._look)
        try:
            await turn
        except ExpiredError:
            peer.turns.remove(turn)
            raise ResourceExhaustedError(
                f"{what} was not read within {self._seconds:g} s: other requests of its connection did not arrive; "
                "call again later",
                details={"retry_after": "1"},
            ) from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Its turn came at the same moment.
                self._count(peer, -1)
                self._next(peer)
            elif turn in peer.turns:
                peer.turns.remove(turn)
            raise
        finally:
            self._waiting.pop(turn, None)

    def _next(self, peer: Peer) -> None:
        """Starts the next read: of this connection, else of the one whose request has waited longest."""
        if self._is_full:
            return
        others = (other for other, _ in self._waiting.values()) if self._max_concurrent is not None else ()
        for one in (peer, *others):
            if one.turns and one.reading < self._of_one:
                turn = one.turns.popleft()
                self._waiting.pop(turn, None)
                if not turn.done():
                    # Counted here, so that no other read starts before it runs.
                    self._count(one, 1)
                    turn.set_result(None)
                    return

    async def _begin(self, rpc: Rpc, size: int) -> None:
        """Waits until there is room for the arguments of a large request."""
        peer, loop = rpc.peer, asyncio.get_running_loop()
        end = loop.time() + self._seconds
        while (full := peer.budget.is_full_for(size)) is not None:
            if full is peer.budget and not peer.begun:
                # It is the only one, so it would wait for nothing.
                break
            left = end - loop.time()
            if left <= 0:
                raise peer.budget.refusal(full, size, f"the request of {rpc.what}")
            changed: asyncio.Future[None] = loop.create_future()
            peer.room.append(changed)
            with contextlib.suppress(ExpiredError):
                await within(changed, min(left, LOOK_SECONDS))
        rpc.begin(size)

    # ------------------------------------------------------------------------------------------- stalled requests

    def _look(self) -> None:
        """Charges stalled requests with the maximum size, and ends those that take too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for read in list(self._open):
            if not read.seen:
                # It may have arrived already, while the hub itself was busy.
                read.seen = True
            elif now - read.began > self._seconds:
                read.end(DeadlineExceededError(f"the request did not arrive whole within {self._seconds:g} s"))
            elif not read.reserved and read.error is None:
                self._reserve(read)
        while self._waiting:
            turn, (_, since) = next(iter(self._waiting.items()))
            if now - since < self._seconds:
                break
            del self._waiting[turn]
            if not turn.done():
                turn.set_exception(ExpiredError())
        self._timer = loop.call_later(self._grace, self._look) if self._open or self._waiting else None

    def _reserve(self, read: _Read) -> None:
        budget = read.peer.budget
        full = budget.is_full_for(self.most)
        if full is not None and (full is budget or not self._took_from_others(read, full)):
            read.end(budget.refusal(full, self.most, "a request that has not arrived, and may be one"))
            return
        budget.charge(self.most)
        read.reserved = self.most

    def _took_from_others(self, read: _Read, full: Budget) -> bool:
        """Ends the newest stalled request of the connection that holds most; returns False if it is this one."""
        most = max(self._stalled(), key=lambda other: other.peer.budget.used, default=None)
        if most is None or most.peer.budget.used <= read.peer.budget.used + self.most:
            return False
        self._end_for(most, full)
        return True

    def make_room(self, missing: int) -> None:
        """Ends stalled requests until ``missing`` bytes are free, first those of connections that hold most."""
        stalled = sorted(self._stalled(), key=lambda read: (read.peer.budget.used, read.began), reverse=True)
        for read in stalled:
            if missing <= 0:
                return
            missing -= read.reserved
            self._end_for(read, self.peers.memory)

    def _stalled(self) -> list[_Read]:
        """Returns the stalled requests, the newest first: by a coarse clock, several began at the same time."""
        return [read for read in reversed(self._open) if read.reserved and read.error is None]

    def _end_for(self, read: _Read, full: Budget) -> None:
        read.end(read.peer.budget.refusal(full, self.most, "a request that did not arrive, and might have been one"))
        read.peer.budget.give_back(read.reserved)
        read.reserved = 0
