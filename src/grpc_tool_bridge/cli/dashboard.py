"""``open``: shows the dashboard of a hub in the browser."""

from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, say_warning
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Option


async def open_dashboard(
    hub: HubOptions,
    *,
    http: Annotated[
        str | None,
        Option(
            "--http",
            metavar="URL",
            help="Open this address, http://HOST:PORT or HOST:PORT, such as that of a proxy or a forwarded port. "
            "Default: the hub says where it serves HTTP.",
        ),
    ] = None,
    print_only: Annotated[bool, Option("--print", help="Print the URL, and open nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Open the dashboard of the hub in the browser: its calls, tools, sessions, workers, agents and limits.

    The hub must serve HTTP: serve --http 127.0.0.1:8080. If it has a token, the page asks for it.
    """
    from grpc_tool_bridge.cli.browsers import open_page
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.dashboard_urls import given_url

    url = await _ask(hub) if http is None else given_url(http, tls=hub.uses_tls)
    opened = not print_only and open_page(url)
    if as_json:
        print_json({"url": url, "opened": opened})
    else:
        console().print(url, soft_wrap=True, highlight=False, markup=False)
    if not opened and not print_only:
        say_warning("found no browser on this machine that could show the dashboard; open the URL in one")
    elif hub.token() is not None and not as_json:
        console(stderr=True).print("The page asks for the token of the hub", highlight=False)


async def _ask(hub: HubOptions) -> str:
    """Asks the hub where it serves the dashboard.

    Raises:
        ArgumentError: It does not, or not where this machine could reach it.
    """
    from grpc_tool_bridge.cli.connection import address_of, first_answer, make_bridge
    from grpc_tool_bridge.cli.dashboard_urls import reachable_url
    from grpc_tool_bridge.client.resume import reach

    async with make_bridge(hub) as bridge, first_answer(hub, bridge.client.where):
        found = await reach(lambda _: bridge.client.get_metrics("hub.http_url"), hub.connect_timeout)
        address = address_of(bridge)
    if "hub.http_url" not in found:
        raise ArgumentError(
            f"the hub at {address} serves no HTTP, and so no dashboard; start it with serve --http 127.0.0.1:8080 "
            '(pip install "grpc-tool-bridge[http]")'
        )
    return reachable_url(found["hub.http_url"].string_value, address)
