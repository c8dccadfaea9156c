"""A hub with tools and an agent runtime, which a peer reaches through a proxy that can cut its connections."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct

from conformance.checks import Peer
from conformance.descriptions import describe
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolWorker
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AgentExecutionChunk,
    CreateReActAgentRequest,
    CreateReActAgentResponse,
    ExecuteAgentRequest,
    ResultChunk,
    ThoughtChunk,
)
from grpc_tool_bridge.testing import ToxicProxy
from grpc_tool_bridge.values.serialization import deserialize_value

Answer = dict[str, Any]

# For anything that a check waits for; a peer may back off for some seconds.
PATIENCE = 60.0

SESSION = "conformance"

_POLL_SECONDS = 0.05


class UnsupportedError(Exception):
    """The peer does not have the action."""


class Stage:
    """A hub, and a peer that acts at it.

    Args:
        peer: The peer.

    Attributes:
        bridge: Python's own client, in the same session.
        tools: The hub's tools, and what has become of their calls.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.tools = HubTools()
        settings = Settings(shutdown_grace=0.0)
        self._hub = BridgeServer(tools=self.tools.all(), settings=settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._hub)
        self.proxy = await self._stack.enter_async_context(ToxicProxy(self._hub.address))
        runtime = ToolWorker(self._hub.address, agents=ThinkingAgents, settings=Settings(shutdown_grace=0.0))
        await self._stack.enter_async_context(runtime)
        self.bridge = await self._stack.enter_async_context(GRPCToolBridge(self._hub.address))
        await self.bridge.initialize(SESSION)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def address(self) -> str:
        """Where the peer connects to."""
        return self.proxy.address

    @asynccontextmanager
    async def another_hub(self, **settings: Any) -> AsyncIterator[BridgeServer]:
        """Puts another hub, which knows no session, in the place of this one."""
        async with BridgeServer(tools=self.tools.all(), settings=Settings(shutdown_grace=0.0, **settings)) as other:
            self.proxy.target = other.address
            self.proxy.cut()
            try:
                yield other
            finally:
                self.proxy.target = self._hub.address
                self.proxy.cut()

    async def ask(self, do: str, **request: Any) -> Answer:
        """Asks the peer; returns its answer, with ``ok`` or ``error``.

        Raises:
            UnsupportedError: The peer does not have the action.
        """
        answer = await asyncio.to_thread(self._peer.ask, do, **request)
        if answer.get("error", {}).get("type") == "Unimplemented":
            raise UnsupportedError
        return answer

    async def ok(self, do: str, **request: Any) -> Answer:
        """Asks the peer; returns what it answers.

        Raises:
            AssertionError: It answers with an error.
        """
        answer = await self.ask(do, **request)
        assert "ok" in answer, f"{do} failed with {answer.get('error')}"
        ok: Answer = answer["ok"]
        return ok

    async def error(self, do: str, **request: Any) -> Answer:
        """Asks the peer for what must fail; returns the error."""
        answer = await self.ask(do, **request)
        assert "error" in answer, f"{do} must fail, but gave {answer.get('ok')}"
        error: Answer = answer["error"]
        return error

    async def poll(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        """Waits until what the hub lists shows what the peer has to bring about."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await holds():  # noqa: ASYNC110 - a list is no event
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{what} did not happen within {PATIENCE:g} s") from None

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for what the peer has to bring about."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await self.tools.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not happen within {PATIENCE:g} s") from None


class HubTools:
    """The tools of the hub.

    Attributes:
        waiting, cancelled, left: How many calls wait, were cancelled, and how many streams were left by their reader.
        changed: Set with each change of these.
        relay: What ``echo`` makes of its argument while it is set.
    """

    def __init__(self) -> None:
        self.waiting = self.cancelled = self.left = 0
        self.relay: Callable[[Any, ToolContext], Awaitable[Any]] | None = None
        self.changed = _Changes()

    def all(self) -> list[Any]:
        """Returns the tools."""
        return [self.echo, self.fail, self.count, self.wait, self.report]

    async def echo(self, value: Any, context: ToolContext) -> Any:
        """Returns its argument."""
        return value if self.relay is None else await self.relay(value, context)

    def fail(self, message: str) -> None:
        """Fails with a ValueError."""
        raise ValueError(message)

    async def count(self, to: int) -> AsyncIterator[int]:
        """Yields the numbers below ``to``."""
        try:
            for number in range(to):
                yield number
        except (GeneratorExit, asyncio.CancelledError):
            self.left += 1
            self.changed.notify()
            raise

    def report(self, context: ToolContext) -> str:
        """Reports progress, and writes a line to the log."""
        context.progress(1, 2, "half")
        context.log("halfway", level="warning", place="é")
        return "done"

    async def wait(self) -> None:
        """Waits until it is cancelled."""
        self.waiting += 1
        self.changed.notify()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
            self.changed.notify()


class _Changes:
    """Wakes those who wait for a change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wakes all that wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Waits for the next change."""
        await self._event.wait()


class ThinkingAgents:
    """An agent runtime without a model: an agent thinks once, and answers with its question."""

    def __init__(self, _: Any) -> None:
        self._known: set[str] = set()

    async def create_react_agent(self, request: CreateReActAgentRequest) -> CreateReActAgentResponse:
        """Creates an agent."""
        self._known.add(request.signature)
        return CreateReActAgentResponse(agent_id=request.signature, capabilities=["streaming"])

    async def execute_agent(self, request: ExecuteAgentRequest, _: Any) -> AsyncIterator[AgentExecutionChunk]:
        """Runs it."""
        answer = Struct()
        answer.update({"Answer": request.input["Question"]})
        for sequence, fields in enumerate(_thoughts(answer)):
            yield AgentExecutionChunk(agent_id=request.agent_id, run_id=request.run_id, sequence=sequence, **fields)

    def cancel_all(self, _: Exception) -> None:
        """Cancels nothing: no run waits."""

    async def aclose(self) -> None:
        """Closes nothing."""


def _thoughts(answer: Struct) -> Iterator[dict[str, Any]]:
    yield {"thought": ThoughtChunk(text="I repeat the question.", step=1)}
    yield {"result": ResultChunk(final_answer=answer, total_steps=1, stop_reason="finished")}


def value_of(vector: Answer) -> Any:
    """Returns the value of a vector in Python."""
    return deserialize_value(AnyMessage.FromString(base64.b64decode(vector["any"])))


def integers(*numbers: int) -> list[Answer]:
    """Returns the meanings of some integers."""
    return [describe(number) for number in numbers]
