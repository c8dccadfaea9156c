"""``hubs``: lists the hubs of the cluster."""

from typing import Annotated

from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Option

OfHubOption = Annotated[
    str | None,
    Option(
        "--hub",
        metavar="NAME",
        help="Only this hub of a cluster, by its name or its incarnation. Default: all hubs.",
        complete="hub",
    ),
]


async def hubs(hub: HubOptions, *, as_json: JsonOption = False) -> None:
    """List the hubs of the cluster: where they are, whether they serve, and what each has."""
    from grpc_tool_bridge.cli import hubs_text
    from grpc_tool_bridge.cli.admin_text import tell_missing
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub) as admin:
        missing: list[str] = []
        found = await admin.hubs(on_missing=missing.append)
    if as_json:
        print_json([hubs_text.facts(row, answered=row.name not in missing) for row in found])
        return
    hubs_text.show(found, missing)
    for name in missing:
        tell_missing(name)
