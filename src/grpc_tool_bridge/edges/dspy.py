"""The tools of a bridge for DSPy."""

from typing import Any

from pydantic import PrivateAttr

from grpc_tool_bridge.agents.tool_args import tool_args
from grpc_tool_bridge.agents.values import from_json
from grpc_tool_bridge.edges.calling import HomeLoop
from grpc_tool_bridge.edges.choice import Bridge, choose_tools, framework_name
from grpc_tool_bridge.edges.extras import missing
from grpc_tool_bridge.proxy import AsyncGRPCProxyTool

try:
    import dspy
except ImportError as error:
    raise missing(error, "dspy", extra="dspy") from error


def dspy_tools(bridge: Bridge, *names: str) -> list[dspy.Tool]:
    """Makes DSPy tools, for ``dspy.ReAct`` and every other module that takes tools.

    ``await tool.acall(…)`` works in any event loop; ``tool(…)``, as a synchronous module calls it, in any thread but
    that of the bridge's own loop. What the tool raises is raised as it is; arguments that do not fit the schema, DSPy
    refuses itself with a ValueError.

    Args:
        bridge: With a session.
        *names: Of the tools; none: all that the session has now.

    Raises:
        NotFoundError: The session has no tool of a name.
        AlreadyExistsError: One would be called as another tool of the session.
        ProtocolError: There is no session yet, or no event loop runs here.
    """
    home = HomeLoop()
    return [_make(proxy, home) for proxy in choose_tools(bridge, names)]


class BridgeTool(dspy.Tool):  # type: ignore[misc]  # DSPy has no types
    """A tool of a bridge that waits in ``__call__`` and is awaited in ``acall``."""

    # DSPy's own has one function for both, and cannot tell which of them calls it.
    _awaited: dspy.Tool = PrivateAttr()

    async def acall(self, /, **kwargs: Any) -> Any:
        """Calls the tool."""
        if "self" in kwargs:
            # DSPy's own takes it for the tool.
            return await self._awaited.func(**kwargs)
        return await self._awaited.acall(**kwargs)


def _make(proxy: AsyncGRPCProxyTool, home: HomeLoop) -> dspy.Tool:
    async def awaited(**kwargs: Any) -> Any:
        return await home.run(lambda: proxy(**from_json(proxy.spec, kwargs)))

    def blocking(**kwargs: Any) -> Any:
        return home.block(proxy.name, lambda: proxy(**from_json(proxy.spec, kwargs)))

    args = tool_args(proxy.spec)
    told = {
        "name": framework_name(proxy.name),
        "desc": proxy.spec.description,
        "args": args,
        # The hub converts and checks them, by the types that the tool really has.
        "arg_types": dict.fromkeys(args, Any),
        "arg_desc": {name: part["description"] for name, part in args.items() if "description" in part},
    }
    tool = BridgeTool(func=blocking, **told)
    tool._awaited = dspy.Tool(func=awaited, **told)  # noqa: SLF001 - of this module's own class
    return tool
