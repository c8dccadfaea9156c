"""Clients, workers, sessions and tools that come and go at a hub, as a process of their own.

Its argument is JSON: the hub's address, for how many seconds, and a seed. It prints what became of the calls, as JSON.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Literal

from grpc_tool_bridge import GRPCToolBridge, Settings, ToolBridgeError, ToolCommunicationError, ToolWorker, tool
from grpc_tool_bridge.testing import ToxicProxy
from integration.agent_runtime import SIGNATURE
from performance.churn_tools import TOOLS
from support.patience import PATIENCE
from support.waiting import until

# What the churn itself causes, by who sees it; everybody else sees no error at all.
LOST_WORKER = {"WorkerUnavailable"}
CAUSED: dict[str, set[str]] = {
    "charge": LOST_WORKER,
    "numbers": LOST_WORKER,
    # Its link was cut in the middle: nobody knows whether the call ran.
    "cut": {"UNAVAILABLE", "WorkerUnavailable"},
    # Its tool was removed.
    "removed": {"ToolNotFound", "WorkerUnavailable"},
    "cancelled run": {"Cancelled"},
}


class Tally:
    """What became of the calls.

    Attributes:
        made: Calls by kind.
        errors: Errors that the churn causes, by kind and type.
        wrong: What should not have happened: other errors, and wrong results.
    """

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def expect(self, kind: str, wanted: Any, call: Awaitable[Any]) -> bool:
        """Awaits a call, and compares its result; returns whether it had one."""
        self.made[kind] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                result = await call
        except TimeoutError:
            self.note(f"{kind} had not ended after {PATIENCE:g} s")
        except ToolBridgeError as error:
            name = error.code_name if isinstance(error, ToolCommunicationError) else error.error_type
            if name in CAUSED.get(kind, ()):
                self.errors[f"{kind}: {name}"] += 1
            else:
                self.note(f"{kind}: {error!r}")
        else:
            if result != wanted:
                self.note(f"{kind} gave {result!r:.100}, not {wanted!r:.100}")
            return True
        return False

    def note(self, what: str) -> None:
        """Notes what should not have happened."""
        if len(self.wrong) < 100:
            self.wrong.append(what)


class Churn:
    """All who come and go.

    Args:
        address: The hub's.
        seed: Decides what they do.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.tally = Tally()
        self._address = address
        self._chance = random.Random(seed)
        self._over = asyncio.Event()

    async def run(self, seconds: float) -> None:
        """Lets them come and go for some time, and then all leave."""
        doings: list[Callable[[], Awaitable[None]]] = [self._visit, self._lose_link, self._offer_tool, self._replicate]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay("link"))
            group.create_task(self._stay("rpc"))
            group.create_task(self._follow_variables())
            group.create_task(self._run_agents())
            for doing in doings:
                group.create_task(self._again_and_again(doing))
            await asyncio.sleep(seconds)
            self._over.set()

    async def _again_and_again(self, doing: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            await doing()
            await self._pause()

    async def _pause(self, most: float = 0.1) -> None:
        """Waits for a while, or until it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._chance.uniform(0, most)):
                await self._over.wait()

    @asynccontextmanager
    async def _bridge(self, address: str | None = None, **options: Any) -> AsyncIterator[GRPCToolBridge]:
        session_id = options.pop("session_id", None)
        async with GRPCToolBridge(address or self._address, **options) as bridge:
            await bridge.initialize(session_id, connect_timeout=PATIENCE)
            yield bridge

    # ------------------------------------------------------------------------------------------ calls of all kinds

    async def _stay(self, transport: Literal["link", "rpc"]) -> None:
        async with self._bridge(transport=transport) as bridge:
            while not self._over.is_set():
                await self._use(bridge)
                await self._pause()

    async def _use(self, bridge: GRPCToolBridge, kind: str | None = None) -> None:
        """Makes a call of each shape, all at once; ``kind`` says what may become of them, if not that of each."""
        number = self._chance.randrange(1_000)
        calls: list[tuple[str, Any, Awaitable[Any]]] = [
            ("add", number + 1, bridge.call_tool("add", number, 1)),
            ("double", 2 * number, bridge.call_tool("double", number)),
            ("nested", number + 1, bridge.call_tool("nested", number)),
            ("charge", number, bridge.call_tool("charge", number)),
            ("numbers", list(range(20)), read(bridge.stream_tool("numbers", 20))),
            ("batch", [number] * 10, bridge.execute_batch([{"tool_id": "add", "args": [number]}] * 10)),
        ]
        await asyncio.gather(*(self.tally.expect(kind or each, wanted, call) for each, wanted, call in calls))

    async def _visit(self) -> None:
        """A session that comes, is used, and goes."""
        async with self._bridge() as bridge:
            variables = bridge.session_context
            value = "x" * self._chance.randrange(50_000)
            await self.tally.expect("set", True, is_set(bridge, "v", value))
            await self.tally.expect("get", value, variables.get_variable("v"))
            await self._use(bridge)
            if self._chance.random() < 0.3:
                await bridge.client.cleanup_session(force=True)

    async def _lose_link(self) -> None:
        """A client whose link is cut in the middle of its calls, and who leaves without a word."""
        async with (
            ToxicProxy(self._address) as network,
            self._bridge(network.address, keep_session=True, follow_tools=False) as bridge,
        ):
            using = asyncio.create_task(self._use(bridge, "cut"))
            await self._pause(0.05)
            network.cut()
            await using
            await self.tally.expect("after the cut", 3, bridge.execute_with_retry("add", 1, 2, max_retries=10))
            network.cut()

    # ------------------------------------------------------------------------------------------- tools and workers

    async def _offer_tool(self) -> None:
        """A tool that comes and goes, seen by a session that follows the tools."""
        name = f"extra_{self._chance.randrange(10**9)}"

        @tool(name=name)
        async def extra(number: int) -> int:
            return number

        async with self._bridge() as bridge:
            session_id = self._chance.choice([None, bridge.session_id])
            worker = ToolWorker(self._address, tools=[extra], session_id=session_id, worker_id=name)
            await worker.start(connect_timeout=PATIENCE)
            await until(lambda: name in bridge.tools, f"for {name} to come")
            await self.tally.expect("extra", 7, bridge.call_tool(name, 7))
            leaving = asyncio.create_task(worker.drain())
            await self.tally.expect("removed", 8, bridge.call_tool(name, 8))
            await leaving
            await until(lambda: name not in bridge.tools, f"for {name} to go")

    async def _replicate(self) -> None:
        """A worker with the tools of the others, that drains or is lost."""
        async with ToxicProxy(self._address) as network:
            worker = ToolWorker(network.address, tools=TOOLS, settings=Settings(shutdown_grace=PATIENCE))
            await worker.start(connect_timeout=PATIENCE)
            await self._pause(0.5)
            if self._chance.random() < 0.5:
                await worker.drain()
            else:
                network.refuse()
                network.cut()
                await worker.close()

    # ---------------------------------------------------------------------------------------- variables and agents

    async def _follow_variables(self) -> None:
        """Watchers see the values of a variable in order, and the last one."""
        async with self._bridge() as writer:
            seen: list[list[int]] = [[], [], []]
            watchers = [asyncio.create_task(self._watch(writer.client.require_session(), each)) for each in seen]
            number = 0
            while not self._over.is_set():
                number += 1
                await self.tally.expect("write", True, is_set(writer, "n", number))
                await self._pause()
            await until(lambda: all(each and each[-1] == number for each in seen), "for the last value")
            for watcher in watchers:
                watcher.cancel()
            await asyncio.wait(watchers)
            for each in seen:
                if each != sorted(each):
                    self.tally.note(f"a watcher saw values out of order: {each[-20:]}")
            self.tally.made["seen by watchers"] += sum(map(len, seen))

    async def _watch(self, session_id: str, seen: list[int]) -> None:
        async with (
            self._bridge(session_id=session_id, keep_session=True) as bridge,
            aclosing(bridge.session_context.watch_variables("n")) as changes,
        ):
            async for change in changes:
                if change.operation != "reset":
                    seen.append(change.value)  # noqa: PERF401 - others look at it meanwhile

    async def _run_agents(self) -> None:
        while not self._over.is_set():
            async with self._bridge() as bridge:
                agent_id = await bridge.create_react_agent(SIGNATURE)
                asked = {"call": "add", "arguments": {"a": 2, "b": 3}}
                await self.tally.expect("run", 5.0, answer_of(bridge, agent_id, asked))
                cancelled = asyncio.create_task(answer_of(bridge, agent_id, {"wait": True}))
                await self._pause(0.05)
                cancelled.cancel()
                await asyncio.wait([cancelled])
            await self._pause(0.5)


async def is_set(bridge: GRPCToolBridge, name: str, value: Any) -> bool:
    """Sets a variable."""
    await bridge.session_context.set_variable(name, value)
    return True


async def answer_of(bridge: GRPCToolBridge, agent_id: str, asked: dict[str, Any]) -> Any:
    """Runs an agent, and returns its answer."""
    request = {"agent_id": agent_id, "input": asked, "stream": True}
    async with aclosing(bridge.execute_agent_streaming(request)) as chunks:
        async for chunk in chunks:
            if chunk["type"] == "result":
                return chunk["final_answer"]["Answer"]
    return None


async def read(stream: AsyncIterator[Any]) -> list[Any]:
    """Reads a stream to its end."""
    return [value async for value in stream]


async def main(arguments: Sequence[str]) -> None:
    address, seconds, seed = json.loads(arguments[0])
    churn = Churn(address, seed)
    await churn.run(seconds)
    tally = churn.tally
    sys.stdout.write(json.dumps({"made": tally.made, "errors": tally.errors, "wrong": tally.wrong}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
