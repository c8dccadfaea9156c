"""``tools``: lists the tools of the hub, and searches them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.find_tool import named_spec
from grpc_tool_bridge.cli.grpc_options import GrpcServiceOptions
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.tags import check_tags

if TYPE_CHECKING:
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Ids of the workers that run a tool, by the tool and the hub; an empty id is the hub itself.
Offers = dict[str, dict[str, list[str]]]

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
    tag: Annotated[
        list[str] | None,
        Option("--tag", metavar="TAG", help="Only tools with this tag; with all of them if repeated.", complete="tag"),
    ] = None,
    hidden: Annotated[bool, Option("--hidden", help="Also list hidden tools.")] = False,
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
            "address, or a JSON file with mcpServers; or grpc: and the address of a gRPC service (grpcs: with TLS), or "
            "a TOML file with services.",
        ),
    ] = None,
    as_json: JsonOption = False,
    service: GrpcServiceOptions,
) -> None:
    """List the tools of the hub, search them, or show one in full."""
    if source is not None:
        from grpc_tool_bridge.cli.imported_tools import show_imported

        await show_imported(source, name, service, as_json=as_json)
        return
    from grpc_tool_bridge.cli.connection import open_bridge

    async with open_bridge(hub, session, must_exist=True) as bridge:
        if name is not None:
            specs = [named_spec(bridge, name)]
        elif search is None:
            specs = _listed(bridge, prefix, tag or (), hidden=hidden)
        else:
            found = await bridge.search_tools(search, limit=limit or 8, prefix=prefix, tags=tag or ())
            specs = [proxy.spec for proxy in found]
        held = await _held_back(bridge)
        offers = await _offers(bridge, specs[0].name if name is not None else None)
    if name is not None:
        _show_one(specs[0], held, offers, as_json=as_json)
    else:
        _show_all(specs, held, offers, as_json=as_json, is_choice=search is not None or bool(prefix or tag))


def _listed(bridge: Any, prefix: str, tags: Sequence[str], *, hidden: bool) -> "list[ToolSpec]":
    """Returns the specs of the tools that the options choose, by name."""
    from grpc_tool_bridge.llm.tool_marks import has_tags

    proxies = [*bridge.tools.values(), *(bridge.tools.hidden.values() if hidden else ())]
    specs = [proxy.spec for proxy in proxies if proxy.name.startswith(prefix) and has_tags(proxy.spec, tags)]
    return sorted(specs, key=lambda spec: spec.name)


def _show_one(spec: "ToolSpec", held: dict[str, dict[str, Any]], offers: Offers, *, as_json: bool) -> None:
    from grpc_tool_bridge.cli import tool_text

    print_json(_facts(spec, held, offers)) if as_json else tool_text.show(spec, held, offers.get(spec.name, {}))


def _facts(spec: "ToolSpec", held: dict[str, dict[str, Any]], offers: Offers) -> dict[str, Any]:
    """Describes a tool for programs, in a cluster with the workers that run it by hub; "" is the hub itself."""
    from grpc_tool_bridge.cli import tool_text

    return tool_text.facts(spec, held) | ({"offered_at": offers.get(spec.name, {})} if offers else {})


def _show_all(
    specs: "list[ToolSpec]", held: dict[str, dict[str, Any]], offers: Offers, *, as_json: bool, is_choice: bool
) -> None:
    from grpc_tool_bridge.cli import tool_text
    from grpc_tool_bridge.cli.consoles import console

    if as_json:
        print_json([_facts(spec, held, offers) for spec in specs])
    elif specs:
        hubs = {"hubs": [", ".join(sorted(offers.get(spec.name, {}))) for spec in specs]} if offers else None
        console().print(tool_text.table(specs, held, hubs))
    elif is_choice:
        console().print("No tool matches; grpc-tool-bridge tools lists all of them.")
    else:
        console().print("The hub has no tools; offer some with grpc-tool-bridge serve --tools …")


def check(
    *,
    name: str | None,
    search: str | None,
    prefix: str,
    tag: list[str] | None,
    hidden: bool,
    limit: int | None,
    source: str | None,
    service: GrpcServiceOptions,
    **_: Any,
) -> None:
    """Checks the arguments that do not need the hub; raises ArgumentError."""
    from grpc_tool_bridge.cli.imported_tools import check_from

    check_from(source, service)
    check_tags(tag)
    chooses = search is not None or prefix or tag or hidden
    if source is not None and chooses:
        raise ArgumentError("--search, --prefix, --tag, --hidden: for the tools of a hub only; omit them with --from")
    if name is not None and chooses:
        raise ArgumentError(
            "tools shows one tool by its name, or those of --search, --prefix, --tag and --hidden; give one of them"
        )
    if hidden and search is not None:
        raise ArgumentError("--hidden: --search never finds hidden tools; omit one of them")
    if limit is not None and search is None:
        raise ArgumentError("--limit is the maximum number of tools that --search finds; give --search too")


async def _offers(bridge: Any, tool: str | None) -> Offers:
    """Returns the workers that run each tool, by tool and hub; nothing from a hub without a cluster."""
    import contextlib

    from grpc_tool_bridge.cli.admin_text import tell_missing
    from grpc_tool_bridge.errors import ToolBridgeError

    found: Offers = {}
    with contextlib.suppress(ToolBridgeError):
        if not any(hub.incarnation for hub in await bridge.admin.hubs(on_missing=lambda _: None)):
            return {}
        async with contextlib.aclosing(bridge.admin.offers(tool, on_missing=tell_missing)) as offers:
            async for offer in offers:
                found.setdefault(offer.tool, {}).setdefault(offer.hub, []).append(offer.worker_id)
    return found


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
