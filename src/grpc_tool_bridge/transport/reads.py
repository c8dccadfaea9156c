"""The requests of RPCs: how many are read at once, and what they and their answers hold.

gRPC receives a message whole, and says nothing of its size before. So a hub reads a request itself, once the RPC has
been let in, a few of one connection at a time; those that do not arrive at once count with the most that they can
become, and are the first to go where memory is short. What has arrived is charged to its connection until the answer
has left.
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

# What an RPC takes by itself: its tasks, their stacks, its metadata.
RPC_BYTES = 16 * 1024

# A request beyond this is read into arguments of its size: it is charged twice, and begins when there is room for both.
CHARGED_TWICE_BYTES = 64 * 1024

# How often those who wait for room of the whole hub look again.
LOOK_SECONDS = 0.25


class Rpc:
    """What one RPC holds.

    Args:
        peer: Whose it is.
        peers: All of them.
        what: For the text of a refusal.
    """

    __slots__ = ("_begun", "_held", "_peers", "peer", "what")

    def __init__(self, peer: Peer, peers: Peers, what: str) -> None:
        self.peer = peer
        self.what = what
        self._peers = peers
        self._held = 0
        self._begun = False

    def hold(self, size: int, what: str) -> None:
        """Makes it hold ``size`` bytes besides itself.

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
        """Counts a large request as worked on."""
        self.peer.budget.charge(size)
        self._held += size
        self._begun = True
        self.peer.begun += 1

    def answer(self, data: bytes) -> bytes:
        """Holds an answer instead of the request: the bytes, and gRPC's copy of them.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        if self._begun:
            self._begun = False
            self.peer.begun -= 1
        self.hold(2 * len(data), f"the answer of {self.what}")
        return data

    def hold_chunks(self, largest: int, before: int) -> None:
        """Holds the messages of a stream besides the request: one on its way, and one that is made meanwhile.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        more = 4 * (largest - before)
        self.peer.budget.take(more, f"a message of {self.what}")
        self._held += more

    def end(self, _: Any = None) -> None:
        """Gives back what it holds; called by gRPC once the answer has left or nobody wants it."""
        if self._begun:
            self._begun = False
            self.peer.begun -= 1
        self.peer.budget.give_back(self._held)
        self._held = 0
        self.peer.gave_back()
        self._peers.leave(self.peer)


class _Read:
    """One request that is on its way."""

    __slots__ = ("began", "error", "peer", "reserved", "seen", "task")

    def __init__(self, peer: Peer, began: float) -> None:
        self.peer = peer
        self.began = began
        self.task = asyncio.current_task()
        self.seen = False
        self.reserved = 0
        self.error: ToolBridgeError | None = None

    def end(self, error: ToolBridgeError) -> None:
        """Ends it with an error."""
        if self.error is None and self.task is not None:
            self.error = error
            self.task.cancel()


class Reads:
    """Reads the requests of RPCs.

    Args:
        peers: The connections.
        most: Bytes that one request can become: gRPC's own limit.
        seconds: How long one may take to arrive, its turn included.
        grace: Seconds in which it costs nothing; what is small has arrived by then.
        max_concurrent: Of all connections together; None: any number.
    """

    def __init__(
        self, peers: Peers, most: int, *, seconds: float, grace: float = 0.05, max_concurrent: int | None = None
    ) -> None:
        self.peers = peers
        self.most = most
        self._seconds = seconds
        self._grace = grace
        self._max_concurrent = max_concurrent
        # Those that stall can hold no more than what one connection may.
        self._of_one = max(1, min(8, peers.limit // most)) if max_concurrent is None else 2
        self._open: dict[_Read, None] = {}
        # Those that are read or have their turn.
        self._reads = 0
        self._waiting: dict[asyncio.Future[None], tuple[Peer, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, context: Any, what: str) -> Rpc:
        """Counts an RPC until gRPC says that it is over."""
        rpc = Rpc(self.peers.enter(context.peer()), self.peers, what)
        context.add_done_callback(rpc.end)
        return rpc

    async def request(self, context: Any, rpc: Rpc, *, most: int = 0) -> bytes:
        """Reads the request of an RPC and charges it.

        Args:
            context: The RPC's.
            rpc: The RPC.
            most: Bytes that are taken; 0: what gRPC takes.

        Raises:
            ResourceExhaustedError: There is no room for it.
            DeadlineExceededError: It did not arrive in time.
            ValidationError: There is none.
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
        """Reads one message in its turn; ``grpc.aio.EOF`` where none comes. Raises as ``request`` does."""
        if peer.reading >= self._of_one or peer.turns or self._is_full:
            await self._turn(peer, what)
        else:
            self._count(peer, 1)
        with self._reading(peer) as read:
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
    def _reading(self, peer: Peer) -> Iterator[_Read]:
        loop = asyncio.get_running_loop()
        read = _Read(peer, loop.time())
        self._open[read] = None
        if self._timer is None:
            self._timer = loop.call_later(self._grace, self._look)
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
                # It was its turn in the same moment.
                self._count(peer, -1)
                self._next(peer)
            elif turn in peer.turns:
                peer.turns.remove(turn)
            raise
        finally:
            self._waiting.pop(turn, None)

    def _next(self, peer: Peer) -> None:
        """Lets the next one be read: of this connection, or of the one whose request waits longest."""
        if self._is_full:
            return
        others = (other for other, _ in self._waiting.values()) if self._max_concurrent is not None else ()
        for one in (peer, *others):
            if one.turns and one.reading < self._of_one:
                turn = one.turns.popleft()
                self._waiting.pop(turn, None)
                if not turn.done():
                    # Counted here, so that nobody slips in before it runs.
                    self._count(one, 1)
                    turn.set_result(None)
                    return

    async def _begin(self, rpc: Rpc, size: int) -> None:
        """Waits until there is room for what is made of a large request."""
        peer, loop = rpc.peer, asyncio.get_running_loop()
        end = loop.time() + self._seconds
        while (full := peer.budget.is_full_for(size)) is not None:
            if full is peer.budget and not peer.begun:
                # Alone it may: no other has to be answered first.
                break
            left = end - loop.time()
            if left <= 0:
                raise peer.budget.refusal(full, size, f"the request of {rpc.what}")
            changed: asyncio.Future[None] = loop.create_future()
            peer.room.append(changed)
            with contextlib.suppress(ExpiredError):
                await within(changed, min(left, LOOK_SECONDS))
        rpc.begin(size)

    # ------------------------------------------------------------------------------------------- what stalls

    def _look(self) -> None:
        """Charges the requests that stall with what they can become, and ends those that take too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for read in list(self._open):
            if not read.seen:
                # What has arrived while the hub itself was held up is taken first.
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
            read.end(budget.refusal(full, self.most, "a request that does not arrive, and may become one"))
            return
        budget.charge(self.most)
        read.reserved = self.most

    def _took_from_others(self, read: _Read, full: Budget) -> bool:
        """Ends the newest stalled request of the connection that holds most; false where that is this one."""
        most = max(self._stalled(), key=lambda other: other.peer.budget.used, default=None)
        if most is None or most.peer.budget.used <= read.peer.budget.used + self.most:
            return False
        self._end_for(most, full)
        return True

    def make_room(self, missing: int) -> None:
        """Ends stalled requests, those of who holds most first, until so many bytes are free."""
        stalled = sorted(self._stalled(), key=lambda read: (read.peer.budget.used, read.began), reverse=True)
        for read in stalled:
            if missing <= 0:
                return
            missing -= read.reserved
            self._end_for(read, self.peers.memory)

    def _stalled(self) -> list[_Read]:
        return [read for read in self._open if read.reserved and read.error is None]

    def _end_for(self, read: _Read, full: Budget) -> None:
        read.end(read.peer.budget.refusal(full, self.most, "a request that did not arrive, and might have become one"))
        read.peer.budget.give_back(read.reserved)
        read.reserved = 0
