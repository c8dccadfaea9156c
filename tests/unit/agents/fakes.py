"""A session without a hub, and short ways to run an agent in it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.agents.runtime import AgentRuntime
from grpc_tool_bridge.agents.settings import AgentSettings
from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.patience import PATIENCE


def calculate(expression: str) -> int:
    """Works out a sum.

    Args:
        expression: Such as 2 + 2.
    """
    left, _, right = expression.partition("+")
    return int(left) + int(right)


class FakeSession:
    """Holds functions as tools, as a hub would offer them."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self.offered = [as_tool(function) for function in functions]
        self.specs = [tool.spec for tool in self.offered]
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.opened: list[tuple[str, Any, float]] = []
        self.cancelled: list[str] = []
        self.context: dict[str, str] = {}

    def open(self, session_id: str, origin: Any, deadline: float, context: Mapping[str, str]) -> "FakeSession":
        self.context = dict(context)
        self.opened.append((session_id, origin, deadline))
        return self

    def _function(self, tool_id: str) -> Callable[..., Any]:
        return next(tool.function for tool in self.offered if tool_id == (tool.spec.tool_id or tool.spec.name))

    async def tools(self) -> list[pb.ToolSpec]:
        return self.specs

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        assert args == ()
        self.calls.append((tool_id, dict(kwargs)))
        function = self._function(tool_id)
        try:
            value = function(**kwargs)
            return await value if asyncio.iscoroutine(value) else value
        except asyncio.CancelledError:
            self.cancelled.append(tool_id)
            raise
        except Exception as error:
            raise ToolExecutionError(
                tool_id, type(error).__name__, str(error), {"origin": "tool"}, remote_traceback="Traceback: line 7"
            ) from None

    async def stream_tool(
        self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        self.calls.append((tool_id, dict(kwargs)))
        for value in self._function(tool_id)(**kwargs):
            yield value


def runtime_of(session: FakeSession, **settings: Any) -> AgentRuntime:
    return AgentRuntime(AgentSettings(**settings), session.open)


async def made(
    runtime: AgentRuntime,
    signature: str = "Question -> Answer",
    *,
    tool_names: tuple[str, ...] = (),
    max_iters: int = 5,
    intermediate_steps: bool = False,
    verbose: bool = False,
    **llm_config: Any,
) -> str:
    config = pb.AgentConfig(
        return_intermediate_steps=intermediate_steps,
        verbose=verbose,
        llm_config={name: serialize_value(value) for name, value in llm_config.items()},
    )
    request = pb.CreateReActAgentRequest(
        session_id="s", signature=signature, tool_names=tool_names, max_iters=max_iters, config=config
    )
    return (await runtime.create_react_agent(request)).agent_id


def execution(agent_id: str, *, stream: bool = True, timeout_ms: int = 0, **inputs: Any) -> pb.ExecuteAgentRequest:
    request = pb.ExecuteAgentRequest(
        agent_id=agent_id, session_id="s", run_id="r", stream=stream, timeout_ms=timeout_ms
    )
    request.input.update(inputs or {"question": "What is 2 + 2?"})
    return request


async def chunks_of(
    runtime: AgentRuntime, request: pb.ExecuteAgentRequest, **more: Any
) -> list[pb.AgentExecutionChunk]:
    async with asyncio.timeout(PATIENCE), aclosing(runtime.execute_agent(request, **more)) as chunks:
        return [chunk async for chunk in chunks]


async def ran(runtime: AgentRuntime, agent_id: str, **inputs: Any) -> list[pb.AgentExecutionChunk]:
    return await chunks_of(runtime, execution(agent_id, **inputs))


def kinds(chunks: list[pb.AgentExecutionChunk]) -> list[str]:
    return [str(chunk.WhichOneof("content")) for chunk in chunks]


def output_of(chunk: pb.AgentExecutionChunk) -> Any:
    return deserialize_value(chunk.observation.tool_output)
