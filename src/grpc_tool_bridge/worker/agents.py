"""Creates the agent runtime of a worker."""

from collections.abc import AsyncGenerator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import pydantic

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

if TYPE_CHECKING:
    from grpc_tool_bridge.agents.run import OpenSession
    from grpc_tool_bridge.agents.settings import AgentSettings


class AgentMethods(Protocol):
    """The methods of an agent runtime that a hub calls."""

    async def create_react_agent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        """Creates an agent from its definition."""
        ...

    def execute_agent(
        self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        """Runs an agent."""
        ...

    def cancel_all(self, cause: ToolBridgeError) -> None:
        """Ends every run with an error."""
        ...

    async def aclose(self) -> None:
        """Ends the runtime."""
        ...


def make_agents(source: Any, settings: Settings, open_session: "OpenSession") -> AgentMethods | None:
    """Returns the agent runtime of a worker.

    Args:
        source: True: a runtime with ``settings``; a mapping or AgentSettings: with these instead; a callable: called
            with ``open_session``, it returns the runtime; None or False: none.
        settings: The worker's settings.
        open_session: Returns the session of a run.

    Raises:
        ImportError: DSPy is not installed.
        ValidationError: ``source`` is not valid, or has an unknown setting.
    """
    if source is None or source is False:
        return None
    if callable(source):
        made: AgentMethods = source(open_session)
        return made
    chosen = agent_settings(source, settings)
    if find_spec("dspy") is None:
        raise ImportError('agents run on DSPy, which is not installed: pip install "grpc-tool-bridge[dspy]"')
    from grpc_tool_bridge.agents.runtime import AgentRuntime  # noqa: PLC0415 - only imported to run agents

    return AgentRuntime(chosen, open_session)


def agent_settings(source: Any, settings: Settings) -> "AgentSettings":
    """Returns the agent settings for the ``source`` of ``make_agents``; raises ValidationError."""
    from grpc_tool_bridge.agents.settings import AgentSettings  # noqa: PLC0415 - only imported to run agents

    if isinstance(source, AgentSettings):
        return source
    if source is not True and not isinstance(source, Mapping):
        raise ValidationError(
            f"agents must be True, settings of the runtime, or a function that creates one, not {source!r:.80}"
        )
    given: dict[str, Any] = {
        "model": settings.agent_model,
        "api_base": settings.agent_api_base,
        "allowed_models": settings.agent_allowed_models,
        "allowed_api_bases": settings.agent_allowed_api_bases,
        "max_total_tokens": settings.agent_max_total_tokens,
        "cache": settings.agent_cache,
    }
    given.update({} if source is True else source)
    try:
        return AgentSettings(**given)
    except pydantic.ValidationError as error:
        # Values are not shown: they may be secret.
        problems = {
            ".".join(map(str, item["loc"])): item["msg"].removeprefix("Value error, ")
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        }
        text = "; ".join(f"{name} {problem[:1].lower()}{problem[1:]}" for name, problem in problems.items())
        raise ValidationError(f"agents: {text}", details=problems) from None
