"""Finds a tool that a command line names."""

from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.failures import CommandError

if TYPE_CHECKING:
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def named_spec(bridge: Any, name: str) -> "ToolSpec":
    """Returns the spec of a tool of a bridge's session by name or id, be it listed or not.

    Raises:
        CommandError: There is no such tool.
    """
    try:
        spec: ToolSpec = bridge.tools[name].spec
    except KeyError:
        return find_tool([proxy.spec for proxy in bridge.tools.values()], name)
    return spec


def find_tool(specs: "list[ToolSpec]", name: str, owner: str = "the hub") -> "ToolSpec":
    """Finds a tool by name or id; ``owner`` says in the text who should have it.

    Raises:
        CommandError: There is no such tool.
    """
    found = next((spec for spec in specs if name in (spec.name, spec.tool_id)), None)
    if found is None:
        from grpc_tool_bridge.errors.near_names import did_you_mean

        hint = did_you_mean(name, [spec.name for spec in specs], "list its tools with grpc-tool-bridge tools")
        raise CommandError(f"{owner} has no tool {name!r}{hint}", error_type="ToolNotFound")
    return found
