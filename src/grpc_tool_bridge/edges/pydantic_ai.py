"""The tools of a bridge for Pydantic AI."""

from typing import Any

from pydantic_core import SchemaValidator, core_schema

from grpc_tool_bridge.edges.calling import HomeLoop
from grpc_tool_bridge.edges.choice import Bridge, choose_tools, parameters
from grpc_tool_bridge.edges.extras import missing
from grpc_tool_bridge.errors import ToolExecutionError

try:
    from pydantic_ai import ModelRetry, RunContext, ToolDefinition
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
except ImportError as error:
    raise missing(error, "pydantic_ai", extra="pydantic-ai") from error

# The hub converts and checks each argument, by the types that the tool really has.
_ARGUMENTS = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))


def pydantic_ai_toolset(bridge: Bridge, *names: str) -> "BridgeToolset":
    """Makes a Pydantic AI toolset, for ``Agent(…, toolsets=[…])``.

    Args:
        bridge: With a session.
        *names: Of the tools; none: all that the session has at each step of a run, also those that come later.

    Raises:
        NotFoundError: The session has no tool of a name.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    return BridgeToolset(bridge, names)


class BridgeToolset(AbstractToolset[Any]):
    """The tools of a bridge.

    Arguments that the hub refuses are a ``ModelRetry``, so that the model can mend them; every other error is raised as
    it is.
    """

    def __init__(self, bridge: Bridge, names: tuple[str, ...]) -> None:
        self._home = HomeLoop()
        choose_tools(bridge, names)
        self._bridge = bridge
        self._names = names

    @property
    def id(self) -> str:
        """The toolset's name among those of an agent."""
        return f"grpc-tool-bridge:{self._bridge.session_id}"

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Returns the tools as the session has them now."""
        names = tuple(name for name in self._names if name in self._bridge.tools)
        if self._names and not names:
            return {}
        return {
            proxy.name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=proxy.name,
                    description=proxy.spec.description or None,
                    parameters_json_schema=parameters(proxy.spec),
                ),
                max_retries=ctx.max_retries,
                args_validator=_ARGUMENTS,
            )
            for proxy in choose_tools(self._bridge, names)
        }

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[Any],  # noqa: ARG002 - the framework's
        tool: ToolsetTool[Any],  # noqa: ARG002 - likewise
    ) -> Any:
        """Calls a tool.

        Raises:
            ModelRetry: The hub refused the arguments.
            ToolExecutionError: The tool raised.
        """
        (proxy,) = choose_tools(self._bridge, (name,))
        try:
            return await self._home.run(lambda: proxy(**tool_args))
        except ToolExecutionError as error:
            if error.error_type == "ValidationError" and error.details.get("origin", "bridge") == "bridge":
                raise ModelRetry(error.message) from error
            raise
