"""The shapes of a call, each as somebody makes it who goes on whatever happens."""

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from failure_modes import invariants
from failure_modes.invariants import Effects, Ledger, Writes, is_complete, is_typed, rises
from failure_modes.networks import persist
from grpc_tool_bridge import ToolBridge, ToolBridgeError
from grpc_tool_bridge.config import CALL_TIMEOUT
from integration.agent_runtime import SIGNATURE
from support.waiting import until

# Seconds that calls get; the network before a hub elsewhere may be slow. Where the client lets nobody choose, it is its
# default.
DEADLINE = 3.0 if invariants.GRPC_ADDR else 0.5
ITEMS = 20


class Shape(ABC):
    """Makes calls of one shape until it is stopped.

    Args:
        bridge: Over the network that fails; its session is open.
        direct: To the same session, over one that does not fail.
        prefix: What the keys of this caller begin with.

    Attributes:
        ledger: What came of the calls.
    """

    def __init__(self, bridge: ToolBridge, direct: ToolBridge, prefix: str) -> None:
        self.bridge = bridge
        self.direct = direct
        self.prefix = prefix
        self.ledger = Ledger()
        self.effects = Effects()
        self._stopped = asyncio.Event()

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Does what has to be done before the network fails."""

    @abstractmethod
    async def step(self, number: int) -> bool:
        """Makes one call; returns whether its result was right."""

    async def run(self) -> None:
        """Makes calls one after the other until ``stop``."""
        for number in itertools.count():
            if not await self.step(number):
                # A network that is down refuses thousands of calls a second.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), 0.02)
            if self._stopped.is_set() or self.ledger.wrong:
                return

    def stop(self) -> None:
        """Ends ``run`` after the present call."""
        self._stopped.set()

    async def check(self) -> list[str]:
        """Returns what the invariants do not allow, once the network works again."""
        counts = await persist(partial(self.direct.call_tool, "effects_of", self.prefix))
        return [*self.ledger.wrong, *self.effects.compare(counts)]

    async def act(self, what: str, tool: Any, key: str) -> bool:
        """Calls a tool that takes effect; its effects are compared in the end."""
        call = tool.with_options(timeout=DEADLINE, idempotency_key=key)(key)
        right = await self.ledger.call(what, call, deadline=DEADLINE, is_right=lambda result: result == 1)
        self.effects.asked[key] = right
        return right


class Unary(Shape):
    """Calls of a tool of the hub."""

    chars = 1_000

    async def step(self, number: int) -> bool:
        value = {"number": number, "text": "x" * self.chars}
        call = self.bridge.tools["echo"].with_options(timeout=DEADLINE)(value)
        return await self.ledger.call(f"echo {number}", call, deadline=DEADLINE, is_right=lambda got: got == value)


class Large(Unary):
    """Calls whose arguments and results are sent in several parts, in the middle of which the network may fail."""

    chars = 300_000


class Idempotent(Shape):
    """Calls with an idempotency key, each of which is made again until it is answered."""

    async def step(self, number: int) -> bool:
        # The number of the next key is that of the keys that have been answered.
        key = f"{self.prefix}{self.ledger.right}"
        return await self.act(f"act {number}", self.bridge.tools["act"], key)


class Stream(Shape):
    """Streams."""

    async def step(self, number: int) -> bool:
        expected = list(range(ITEMS))
        read: list[Any] = []

        async def reading() -> list[Any]:
            async for value in self.bridge.tools["count"].with_options(timeout=DEADLINE).stream(ITEMS):
                read.append(value)  # noqa: PERF401 - what came before an error is looked at
            return read

        right = await self.ledger.call(f"stream {number}", reading(), deadline=DEADLINE, is_right=expected.__eq__)
        if read != expected[: len(read)]:
            self.ledger.wrong.append(f"stream {number} gave {read}")
        return right


class Batch(Shape):
    """Batches, whose items fail one by one or all at once."""

    async def step(self, number: int) -> bool:
        items = [{"tool_id": "echo", "args": [item]} for item in range(ITEMS)]
        call = self.bridge.execute_batch(items, timeout=DEADLINE)
        complete = False

        def is_right(results: list[Any]) -> bool:
            nonlocal complete
            complete = results == list(range(ITEMS))
            return len(results) == ITEMS and all(
                is_typed(result) if isinstance(result, Exception) else result == item
                for item, result in enumerate(results)
            )

        return await self.ledger.call(f"batch {number}", call, deadline=DEADLINE, is_right=is_right) and complete


class Variables(Shape):
    """Changes of a variable, which a reader on the other side of the network sees all of."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.writes = Writes()
        self._history: list[tuple[int, int]] = []
        self._watching: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        await persist(partial(self.direct.session_context.set_variable, "n", -1))
        self._watching = asyncio.create_task(self._watch())
        await until(lambda: self._history, "for the watch")

    async def _watch(self) -> None:
        async for change in self.direct.session_context.watch_variables("n"):
            self._history.append((change.value, change.revision))

    async def step(self, number: int) -> bool:
        self.writes.tried = number
        revisions: list[int] = []

        async def write() -> int:
            revisions.append(await self.bridge.session_context.set_variable("n", number))
            return revisions[0]

        right = await self.ledger.call(
            f"write {number}", write(), deadline=CALL_TIMEOUT, is_right=lambda revision: revision > 0
        )
        if right:
            self.writes.acknowledged.append((number, revisions[0]))
        return right

    async def check(self) -> list[str]:
        last = max(revision for _, revision in self.writes.acknowledged)
        await until(lambda: self._history[-1][1] >= last, "for the last write")
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait([self._watching])
        return [*await super().check(), *self.writes.compare(self._history)]


class Watch(Shape):
    """A watch over the network that fails, of a variable that somebody else changes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # What each watch saw, after one that was lost.
        self._seen: list[list[tuple[int, int]]] = []
        self._written = -1
        self._watching: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self._seen.append([])
            try:
                async for change in self.bridge.session_context.watch_variables("n"):
                    self._seen[-1].append((change.value, change.revision))
            except ToolBridgeError as error:
                if not is_typed(error):
                    self.ledger.wrong.append(f"the watch ended with {type(error).__name__}: {error}")
                    return
                await asyncio.sleep(0.02)

    async def step(self, number: int) -> bool:
        self._written = number
        await persist(partial(self.direct.session_context.set_variable, "n", number))
        self.ledger.begun += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while self._last() != number:  # noqa: ASYNC110 - a list is no event
                    await asyncio.sleep(0.005)
        self.ledger.ended += 1
        has_come = self._last() == number
        self.ledger.right += has_come
        return has_come

    async def check(self) -> list[str]:
        await until(lambda: self._last() == self._written or self.ledger.wrong, "for the last change")
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait([self._watching])
        wrong = [f"the watch saw {seen}" for seen in self._seen if not is_complete(seen)]
        if not rises([values for seen in self._seen for values in seen]):
            wrong.append(f"the watches saw {self._seen}")
        return [*await super().check(), *wrong]

    def _last(self) -> int | None:
        values = [value for seen in self._seen for value, _ in seen]
        return values[-1] if values else None


class Worker(Shape):
    """Calls of a worker's tool."""

    async def step(self, number: int) -> bool:
        call = self.bridge.tools["worker_echo"].with_options(timeout=DEADLINE)(number)
        return await self.ledger.call(f"worker_echo {number}", call, deadline=DEADLINE, is_right=number.__eq__)


class Nested(Shape):
    """Calls of a worker's tool that calls one of the hub."""

    async def step(self, number: int) -> bool:
        return await self.act(f"nested {number}", self.bridge.tools["worker_nested"], f"{self.prefix}{number}")


class Agent(Shape):
    """Runs of an agent that calls a tool."""

    async def prepare(self) -> None:
        self._agent_id = await persist(partial(self.bridge.create_react_agent, SIGNATURE))

    async def step(self, number: int) -> bool:
        key = f"{self.prefix}{number}"
        self.effects.asked[key] = False
        asked = {"call": "act", "arguments": {"key": key}}
        chunks: list[dict[str, Any]] = []

        async def reading() -> list[dict[str, Any]]:
            request = {"agent_id": self._agent_id, "input": asked, "timeout": DEADLINE}
            async for chunk in self.bridge.execute_agent_streaming(request):
                chunks.append(chunk)  # noqa: PERF401 - what came before an error is looked at
            return chunks

        right = await self.ledger.call(f"run {number}", reading(), deadline=DEADLINE, is_right=_is_run)
        if [chunk["type"] for chunk in chunks] != _STEPS[: len(chunks)]:
            self.ledger.wrong.append(f"run {number} gave {chunks}")
        succeeded = right and chunks[2]["error"] is None
        self.effects.asked[key] = succeeded
        return succeeded


_STEPS = ["thought", "action", "observation", "result"]


def _is_run(chunks: list[dict[str, Any]]) -> bool:
    return len(chunks) == len(_STEPS) and [chunk["sequence"] for chunk in chunks] == list(range(len(_STEPS)))


SHAPES: dict[str, type[Shape]] = {
    shape.__name__.lower(): shape
    for shape in (Unary, Large, Idempotent, Stream, Batch, Variables, Watch, Worker, Nested, Agent)
}
# Those that a worker takes part in.
OF_WORKERS = ("worker", "nested", "agent")
