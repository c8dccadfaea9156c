"""``tools``: lists the tools of the hub, and searches them."""

from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.find_tool import find_tool
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option

ToolsOfOption = Annotated[
    str | None,
    Option(
        "--session",
        metavar="ID",
        help="The tools of this session, which must exist; it may have its own.",
        complete="session",
    ),
]


async def tools(
    hub: HubOptions,
    name: Annotated[
        str | None, Argument(metavar="NAME", help="Show all details of this tool.", complete="tool")
    ] = None,
    *,
    search: Annotated[
        str | None,
        Option(
            metavar="QUERY", help='Only tools that match, the best first: plain words, such as "weather in a city".'
        ),
    ] = None,
    prefix: Annotated[str, Option(metavar="PREFIX", help="Only tools whose names begin with this.")] = "",
    limit: Annotated[
        int | None, Option(min=1, max=100, metavar="N", help="Maximum number of tools that --search finds. Default: 8.")
    ] = None,
    session: ToolsOfOption = None,
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
    """List the tools of the hub, search them, or show one in full."""
    if source is not None:
        from grpc_tool_bridge.cli.imported_tools import show_imported

        await show_imported(source, name, as_json=as_json)
        return
    from grpc_tool_bridge.cli import tool_text
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console

    async with open_bridge(hub, session, must_exist=True) as bridge:
        if search is None:
            specs = [proxy.spec for proxy in bridge.tools.values() if proxy.name.startswith(prefix)]
            specs.sort(key=lambda spec: spec.name)
        else:
            specs = [proxy.spec for proxy in await bridge.search_tools(search, limit=limit or 8, prefix=prefix)]
        held = await _held_back(bridge)
    if name is not None:
        spec = find_tool(specs, name)
        print_json(tool_text.facts(spec, held)) if as_json else tool_text.show(spec, held)
    elif as_json:
        print_json([tool_text.facts(spec, held) for spec in specs])
    elif specs:
        console().print(tool_text.table(specs, held))
    elif search is not None or prefix:
        console().print("No tool matches; grpc-tool-bridge tools lists all of them.")
    else:
        console().print("The hub has no tools; offer some with grpc-tool-bridge serve --tools …")


def check(
    *, name: str | None, search: str | None, prefix: str, limit: int | None, source: str | None, **_: Any
) -> None:
    """Checks the arguments that do not need the hub; raises ArgumentError."""
    from grpc_tool_bridge.cli.imported_tools import check_from

    check_from(source)
    if source is not None and (search is not None or prefix):
        raise ArgumentError("--search and --prefix: for the tools of a hub only; omit them with --from")
    if name is not None and (search is not None or prefix):
        raise ArgumentError(
            "tools shows one tool by its name, or searches with --search and --prefix; give one of them"
        )
    if limit is not None and search is None:
        raise ArgumentError("--limit is the maximum number of tools that --search finds; give --search too")


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
