"""A hub, its workers and its clients behind networks that fail, and a model of what their callers may be told.

Operations run in the background while troubles come and go. What each of them was told is judged as soon as it ends:
the one right result or one typed error. What may be read of a variable, and how often an effect may have happened,
follows from what was acknowledged before.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from failure_modes.invariants import is_typed
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
)
from grpc_tool_bridge.errors import ConflictError, NotFoundError
from grpc_tool_bridge.testing import ToxicProxy
from support.patience import PATIENCE
from support.waiting import soon, until

# How long after its deadline a call may end on a machine that is busy.
MARGIN = PATIENCE
# Calls without a short deadline have this one.
LONG = 20.0
WORKERS = ("w1", "w2")

# What a caller may be told, besides what a failing network does: that the test itself has ended the session, the worker
# or the hub.
_ENDED = frozenset({"SessionExpired", "SessionNotFound", "ToolNotFound", "Cancelled"})


@dataclass
class Counted:
    """What happened in all runs, to report it."""

    operations: int = 0
    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    troubles: int = 0
    latest: float = 0.0
    left_by_grpc: int = 0


COUNTED = Counted()


@dataclass
class Variables:
    """What is known of a session's variables.

    ``last`` was acknowledged last. A change whose caller got an error is ``unsure``: it may come into effect at any
    later time, or never.
    """

    last: int | None = None
    unsure: set[int] = field(default_factory=set)
    written: int = 0
    added: int = 0
    maybe_added: int = 0
    writer: "asyncio.Task[None] | None" = None

    def forget(self) -> None:
        """Notes that the hub has forgotten them; what is on its way may come into effect at the next one."""
        self.unsure.update(range(1, self.written + 1))
        self.last = None
        self.maybe_added += self.added
        self.added = 0


class Client:
    """A session, over the transport that it has."""

    def __init__(self, number: int, bridge: GRPCToolBridge) -> None:
        self.number = number
        self.bridge = bridge
        self.variables = Variables()
        self.effects: Counter[tuple[float, str]] = Counter()
        self.closed = False


class World:
    """Everything that runs; its methods are called in its event loop.

    Args:
        store: URL of the hub's store; None: a hub that restarts has forgotten everything.

    Attributes:
        restarts: How often the hub was replaced.
        hubs: How many hubs there have been that knew nothing.
    """

    def __init__(self, store: str | None = None) -> None:
        self._store = store
        self.stack = AsyncExitStack()
        self.clients: list[Client] = []
        self.workers: dict[str, ToolWorker] = {}
        self.pending: set[asyncio.Task[None]] = set()
        self.watches: set[asyncio.Task[None]] = set()
        self._starting: list[asyncio.Task[None]] = []
        self.failures: list[str] = []
        self.restarts = self.hubs = 0
        self._before: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._before = set(asyncio.all_tasks())
        await self._start_hub()
        self.network = await self.stack.enter_async_context(ToxicProxy(self.server.address))
        self.workers_network = await self.stack.enter_async_context(ToxicProxy(self.server.address))

    async def _start_hub(self) -> None:
        # Of what happens to workers in seconds, in less of them.
        settings = Settings(
            shutdown_grace=0.0, worker_ping_interval=0.1, worker_suspect_after=0.5, worker_grace_period=0.5
        )
        tools = [self.echo, self.once, self.count, self.nested]
        self.server = await self.stack.enter_async_context(
            BridgeServer(tools=tools, settings=settings, store=self._store)
        )

    async def restart(self) -> None:
        """Replaces the hub by another one, which knows of the sessions what its store has kept."""
        await soon(self.server.stop(0))
        self.restarts += 1
        if self._store is None:
            self.hubs += 1
            for client in self.clients:
                client.variables.forget()
        await self._start_hub()
        for network in self.networks():
            network.target = self.server.address

    def networks(self) -> tuple[ToxicProxy, ToxicProxy]:
        return self.network, self.workers_network

    # ------------------------------------------------------------------------------------------------------ tools

    async def echo(self, number: int, size: int = 0) -> dict[str, Any]:
        return {"number": number, "data": b"x" * size}

    async def once(self, key: str, ctx: ToolContext) -> str:
        """Has an effect at its last moment, so that it is known whether it came so far."""
        await asyncio.sleep(0)
        client = next(client for client in self.clients if client.bridge.session_id == ctx.session_id)
        # A client whose link comes back while its session ends may begin it anew.
        life = self.server.hub.store.peek(ctx.session_id).created_at
        client.effects[life, key] += 1
        return f"{key} {client.effects[life, key]}"

    async def count(self, number: int) -> AsyncIterator[int]:
        for value in range(number):
            yield value
            await asyncio.sleep(0)

    async def nested(self, number: int, ctx: ToolContext) -> int:
        return int(await ctx.call_tool("far", number)) + int((await ctx.call_tool("echo", number))["number"])

    # ------------------------------------------------------------------------------------------------------ peers

    async def open(self, transport: Any) -> None:
        bridge = GRPCToolBridge(self.network.address, transport=transport, keep_session=True, follow_tools=False)
        client = Client(len(self.clients), bridge)
        self.stack.push_async_callback(bridge.close)
        try:
            async with asyncio.timeout(LONG):
                await bridge.initialize()
        except (ToolBridgeError, TimeoutError):
            # No hub could be reached, so there is no session to judge.
            return
        self.clients.append(client)

    async def close(self, client: Client) -> None:
        """Ends a session at the hub, whatever its network does."""
        client.closed = True
        with suppress(NotFoundError):
            # A hub that is new may never have heard of it.
            await self.server.hub.store.cleanup_session(client.bridge.client.require_session())

    async def add_worker(self, name: str) -> None:
        async def far(number: int) -> int:
            await asyncio.sleep(0)
            return number + 1

        worker = ToolWorker(self.workers_network.address, [far], worker_id=name)
        self.workers[name] = worker
        self._starting.append(asyncio.create_task(worker.start(connect_timeout=LONG)))

    async def lose_worker(self, name: str) -> None:
        """Ends a worker without a word, as a kill does; the others reconnect."""
        self.workers_network.cut()
        await soon(self.workers.pop(name).close())

    async def drain_worker(self, name: str) -> None:
        worker = self.workers.pop(name)
        await soon(worker.drain(0.1))
        await soon(worker.close())

    # ------------------------------------------------------------------------------------------------- operations

    def call(
        self, client: Client, tool: str, arguments: dict[str, Any], right: Any, timeout: float, key: str = ""
    ) -> None:
        proxy = client.bridge.client.tool(tool).with_options(timeout=timeout, idempotency_key=key)

        async def call() -> None:
            result = await proxy(**arguments)
            if result != right:
                self.failures.append(f"{tool}({arguments}) returned {result!r:.200}")

        self._operate(f"{tool}({arguments}) of session {client.number}", call(), timeout)

    def stream(self, client: Client, number: int, timeout: float) -> None:
        async def read() -> None:
            expected = 0
            async for value in client.bridge.client.tool("count").with_options(timeout=timeout).stream(number):
                if value != expected:
                    self.failures.append(f"a stream gave {value} instead of {expected}")
                expected = value + 1
            if expected != number:
                self.failures.append(f"a stream of {number} values ended after {expected}")

        self._operate(f"a stream of session {client.number}", read(), timeout)

    def batch(self, client: Client, numbers: list[int]) -> None:
        async def run() -> None:
            requests = [{"tool_id": "far", "args": [number]} for number in numbers]
            answers = await client.bridge.execute_batch(requests, timeout=LONG)
            for number, answer in zip(numbers, answers, strict=True):
                if answer != number + 1 and not (isinstance(answer, ToolBridgeError) and _is_explained(answer)):
                    self.failures.append(f"far({number}) in a batch gave {answer!r:.200}")

        self._operate(f"a batch of session {client.number}", run(), LONG)

    def write(self, client: Client) -> None:
        """Writes the next number, unless the one before is still on its way."""
        known = client.variables
        if known.writer is not None and not known.writer.done():
            return
        known.written += 1
        value = known.written
        known.unsure.add(value)

        async def write() -> None:
            hub = self.hubs
            await client.bridge.session_context.set_variable("written", value)
            if hub == self.hubs:
                known.unsure.discard(value)
                known.last = value

        known.writer = self._operate(f"a write of session {client.number}", write(), LONG)

    def read(self, client: Client) -> None:
        self._operate(f"a read of session {client.number}", self._read(client), LONG)

    async def _read(self, client: Client) -> None:
        known = client.variables
        allowed = {known.last, *known.unsure}
        before, hub = known.written, self.hubs
        value = await client.bridge.session_context.get_variable("written", None)
        # What was written since is allowed too.
        if value not in allowed and hub == self.hubs and not (value is not None and before < value <= known.written):
            self.failures.append(f"session {client.number} read {value}, where it may read {allowed}")

    def add(self, client: Client) -> None:
        """Adds one to a variable by compare-and-set; others may do so at the same time."""
        self._operate(f"an addition of session {client.number}", self._add(client), LONG)

    async def _add(self, client: Client) -> None:
        known, variables, hub = client.variables, client.bridge.session_context, self.hubs
        value, revision = 0, 0
        try:
            value, metadata = await variables.get_variable_with_metadata("sum")
            revision = metadata.revision
        except NotFoundError:
            pass
        known.maybe_added += 1
        try:
            await variables.set_variable("sum", value + 1, expected_revision=revision)
        except ConflictError:
            known.maybe_added -= 1
        else:
            if hub == self.hubs:
                known.maybe_added -= 1
                known.added += 1

    def watch(self, client: Client) -> None:
        async def watch() -> None:
            last: dict[str, int] = {}
            async for change in client.bridge.session_context.watch_variables():
                if change.operation == "reset":
                    last.clear()
                elif change.revision <= last.get(change.name, 0):
                    self.failures.append(f"a watch gave revision {change.revision} after {last[change.name]}")
                last[change.name] = change.revision

        self.watches.add(self._operate(f"a watch of session {client.number}", watch(), None))

    def cancel_one(self, which: int) -> None:
        tasks = [task for task in self.pending if not task.done()]
        if tasks:
            tasks[which % len(tasks)].cancel()

    async def let_some_end(self) -> None:
        """Waits until an operation has ended, or for a moment if none does."""
        if self.pending:
            await asyncio.wait(list(self.pending), timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
        self.report()

    def _operate(self, what: str, operation: Awaitable[None], deadline: float | None) -> "asyncio.Task[None]":
        """Runs an operation, and judges how it ends."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        COUNTED.operations += 1

        async def run() -> None:
            try:
                await operation
                COUNTED.right += 1
            except ToolBridgeError as error:
                COUNTED.errors[error.error_type] += 1
                if not _is_explained(error):
                    self.failures.append(f"{what} ended with {type(error).__name__}: {error}")
            except asyncio.CancelledError:
                COUNTED.errors["cancelled"] += 1
            except BaseException as error:
                self.failures.append(f"{what} ended with {error!r:.300}")
            if deadline is not None:
                late = loop.time() - began - deadline
                COUNTED.latest = max(COUNTED.latest, late)
                if late > MARGIN:
                    self.failures.append(f"{what} ended {late:.1f} s after its deadline")

        task = asyncio.create_task(run(), name=what)
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)
        return task

    # -------------------------------------------------------------------------------------------------- judgement

    def report(self) -> None:
        """Fails if anything was wrong so far."""
        assert not self.failures, "\n".join(self.failures)

    async def settle(self) -> None:
        """Restores the networks, and waits until everything has ended; then checks what is left behind."""
        for network in self.networks():
            network.restore()
        waits = self.pending - self.watches
        if waits:
            _, late = await asyncio.wait(waits, timeout=LONG + PATIENCE)
            assert not late, f"never ended: {sorted(task.get_name() for task in late)}"
        for client in self.clients:
            if not client.closed:
                await self._judge(client)
        for client in self.clients:
            twice = {key: count for key, count in client.effects.items() if count > 1}
            assert not twice, f"these effects of session {client.number} happened more than once: {twice}"
        for task in self.watches:
            task.cancel()
        await soon(asyncio.gather(*self.watches, *self._starting, return_exceptions=True))
        self.report()
        hub = self.server.hub
        await until(lambda: not hub.admission.active, "for the hub to count no call")
        await until(
            lambda: not any(s.active or s.calls or s.watches for s in hub.store.sessions()), "for idle sessions"
        )
        await until(lambda: not any(worker.active for worker in hub.workers.workers()), "for idle workers")

    async def _judge(self, client: Client) -> None:
        """Checks what a session has at the end, as a peer sees it who never loses the hub."""
        known = client.variables
        written, total = await self._value(client, "written", None), await self._value(client, "sum", 0)
        allowed = {known.last, *known.unsure}
        if written not in allowed:
            self.failures.append(f"{written} is left in session {client.number}, not one of {allowed}")
        least, most = known.added, known.added + known.maybe_added
        if not least <= total <= most:
            self.failures.append(f"the sum of session {client.number} is {total}, not {least} to {most}")

    async def _value(self, client: Client, name: str, default: Any) -> Any:
        async with self.server.bridge(keep_session=True, follow_tools=False) as peer:
            await peer.initialize(client.bridge.client.require_session())
            return await soon(peer.session_context.get_variable(name, default))

    async def stop(self) -> None:
        """Ends everything; nothing may be left."""
        for worker in self.workers.values():
            await worker.close()
        await self.stack.aclose()
        await until(lambda: not set(self._left()) - {_OF_GRPC}, f"for the end of {self._left()}")
        # Once in a thousand runs, grpc.aio never hears how an RPC to a hub that was replaced has ended.
        COUNTED.left_by_grpc += len(self._left())

    def _left(self) -> list[str]:
        """Names the tasks that are left."""
        left = asyncio.all_tasks() - self._before - {asyncio.current_task()}
        return [getattr(task.get_coro(), "__qualname__", task.get_name()) for task in left]


_OF_GRPC = "_AioCall._handle_status_once_received"


def _is_explained(error: ToolBridgeError) -> bool:
    # A tool fails with the error of a tool that it calls.
    of_nested = isinstance(error, ToolExecutionError) and error.tool_name == "nested"
    return is_typed(error) or error.error_type in _ENDED or (of_nested and error.error_type == "ToolExecutionError")
