"""``doctor``: finds problems of the connection to the hub, of a gRPC service, of a hub's store, or of its settings."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.grpc_options import GrpcServiceOptions
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option

if TYPE_CHECKING:
    from grpc_tool_bridge.cli.reach_checks import Check

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}
# Of the column with the names.
_NARROW, _WIDE = 10, 19


def check(
    store: str | None,
    grpc: str | None,
    service: GrpcServiceOptions,
    options: list[str] | None = None,
    *,
    security: bool = False,
    full: bool = False,
    as_json: bool = False,
) -> None:
    """Checks the options that do not need the hub; raises ArgumentError."""
    del as_json
    if security:
        # All others belong to serve.
        return
    if options:
        raise ArgumentError(f"{options[0]!r:.60}: words without a flag are for --security only")
    if grpc is None:
        service.refuse_without("--grpc")
    elif store is not None:
        raise ArgumentError("--grpc and --store exclude each other: check one of them at a time")
    if store is None:
        if full:
            raise ArgumentError("--full: of a store only; give --store, too")
        return
    from grpc_tool_bridge.errors import ValidationError
    from grpc_tool_bridge.stores.urls import store_path

    try:
        store_path(store)
    except ValidationError as error:
        raise ArgumentError(f"--store: {error.message}") from None


StoreOption = Annotated[
    str | None,
    Option(
        "--store",
        metavar="STORE",
        help="Check this store, sqlite:////absolute/path/hub.db or the path of its file, and its disk, instead of the "
        "connection to the hub.",
    ),
]
GrpcOption = Annotated[
    str | None,
    Option(
        "--grpc",
        metavar="[NAME=]ADDRESS",
        help="Check the gRPC services at this address instead: whether they can be reached and taken in, and as what.",
    ),
]
SecurityOption = Annotated[
    bool,
    Option(
        "--security",
        help="Check what the settings of a hub leave open instead; nothing is started. All other options are those of "
        "serve then.",
    ),
]
FullOption = Annotated[
    bool, Option("--full", help="With --store: compare its indexes with its tables, too; takes longer.")
]
ServeArgument = Annotated[
    list[str] | None,
    Argument(metavar="OPTION", help="With --security: options of serve, such as --config FILE."),
]


async def doctor(
    hub: HubOptions,
    store: StoreOption = None,
    grpc: GrpcOption = None,
    options: ServeArgument = None,
    *,
    service: GrpcServiceOptions,
    security: SecurityOption = False,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the connection to the hub, a gRPC service, a store, or how safe a hub's settings are, step by step."""
    from dataclasses import asdict

    from rich.text import Text

    from grpc_tool_bridge.cli.consoles import console

    checks = []
    out = console()
    checked = _security(options) if security else _examine(hub, store, grpc, service, full=full)
    width = _WIDE if security else _NARROW
    async for found in checked:
        checks.append(found)
        if not as_json:
            line = Text.assemble((f"{found.status:<5}", _STYLES[found.status]), f"{found.name:<{width}} {found.text}")
            out.print(line, soft_wrap=True)
    failed = [found.name for found in checks if found.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(found) for found in checks]})
    if failed:
        what = "settings" if security else store or grpc or hub.address
        failed = list(dict.fromkeys(failed))
        raise CommandError(f"{what}: {', '.join(failed)} failed; the lines above say why")


async def _security(options: list[str] | None) -> "AsyncIterator[Check]":
    from grpc_tool_bridge.cli.security_checks import examine_security

    for found in examine_security(options or ()):
        yield found


async def _examine(
    hub: HubOptions, store: str | None, grpc: str | None, service: GrpcServiceOptions, *, full: bool
) -> "AsyncIterator[Check]":
    if grpc is not None:
        from grpc_tool_bridge.cli.grpc_checks import examine_service

        async for found in examine_service(service.config_of(grpc, "--grpc"), hub.connect_timeout):
            yield found
        return
    if store is None:
        from grpc_tool_bridge.cli.checks import examine

        async for found in examine(hub):
            yield found
        return
    from grpc_tool_bridge.cli.store_checks import examine_store
    from grpc_tool_bridge.stores.urls import store_path

    for found in examine_store(store_path(store), full=full):
        yield found
