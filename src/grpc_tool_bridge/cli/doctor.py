"""``doctor``: finds problems between this machine and the hub."""

from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


async def doctor(hub: HubOptions, as_json: JsonOption = False) -> None:
    """Check the connection to the hub, step by step, and list what is installed."""
    from dataclasses import asdict

    from rich.text import Text

    from grpc_tool_bridge.cli.checks import examine
    from grpc_tool_bridge.cli.consoles import console

    checks = []
    out = console()
    async for check in examine(hub):
        checks.append(check)
        if not as_json:
            line = Text.assemble((f"{check.status:<5}", _STYLES[check.status]), f"{check.name:<9} {check.text}")
            out.print(line, soft_wrap=True)
    failed = [check.name for check in checks if check.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    if failed:
        raise CommandError(f"{hub.address}: {', '.join(failed)} failed; the lines above say why")
