"""``tools``: lists the tools of the hub."""

from typing import Annotated, Any

from grpc_tool_bridge.cli.find_tool import find_tool
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option


async def tools(
    hub: HubOptions,
    name: Annotated[str | None, Argument(metavar="NAME", help="Show all details of this tool.")] = None,
    session: SessionOption = None,
    source: Annotated[
        str | None,
        Option(
            "--from",
            metavar="SOURCE",
            help="Show what would be imported instead, without a hub: mcp: and the command of an MCP server, its "
            "address, or a JSON file with mcpServers.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tools of the hub, or show one in full."""
    if source is not None:
        from grpc_tool_bridge.cli.imported_tools import show_imported

        await show_imported(source, name, as_json=as_json)
        return
    from grpc_tool_bridge.cli import tool_text
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    async with open_bridge(hub, session) as bridge:
        specs = [proxy.spec for proxy in bridge.tools.values()]
        held = await _held_back(bridge)
    specs.sort(key=lambda spec: spec.name)
    if name is not None:
        spec = find_tool(specs, name)
        print_json(tool_text.facts(spec, held)) if as_json else tool_text.show(spec, held)
    elif as_json:
        print_json([tool_text.facts(spec, held) for spec in specs])
    elif specs:
        console().print(tool_text.table(specs, held))
    else:
        console().print("The hub has no tools; offer some with grpc-tool-bridge serve --tools …")


async def _held_back(bridge: Any) -> dict[str, dict[str, Any]]:
    """Returns the state of each tool that is held back after failures, by name; nothing from a hub without metrics."""
    import contextlib

    from grpc_tool_bridge.errors import ToolBridgeError

    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(ToolBridgeError):
        for name, metric in (await bridge.client.get_metrics("breaker.*")).items():
            tool, _, what = name.removeprefix("breaker.").rpartition(".")
            found.setdefault(tool, {})[what] = metric.integer_value if what == "refused" else metric.string_value
    return {tool: held for tool, held in found.items() if held.get("until")}


def check(source: str | None, **_: Any) -> None:
    """Checks the options; raises ArgumentError."""
    from grpc_tool_bridge.cli.imported_tools import check_from

    check_from(source)
