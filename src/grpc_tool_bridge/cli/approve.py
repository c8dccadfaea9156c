"""``approve``: approves tools of MCP servers that have changed since they were pinned."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.mcp.pins import Pending


def approve(
    names: Annotated[
        list[str] | None,
        Argument(metavar="NAME", help="SERVER.TOOL, or SERVER for all of its tools. Without one, they are listed."),
    ] = None,
    *,
    pin: Annotated[Path | None, Option("--pin", metavar="FILE", help="The file of pins. Required.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Approve tools of MCP servers that have changed, or list them with what they are now.

    A hub or a worker that runs offers an approved tool again within seconds.
    """
    from grpc_tool_bridge.errors import ValidationError

    if pin is None:
        raise ArgumentError("missing option '--pin FILE': which file?")
    try:
        from grpc_tool_bridge.adapters.mcp.pins import PinFile
    except ImportError as error:
        raise CommandError(str(error)) from None
    try:
        if not pin.exists():
            raise ArgumentError(f"--pin: there is no file {pin}")
        found = PinFile(pin).approve(names) if names else PinFile(pin).pending()
    except OSError as error:
        raise file_error(error, pin) from None
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    if as_json:
        print_json([_facts(item, approved=bool(names)) for item in found])
    else:
        _show(found, approved=bool(names))
    return 0


def _facts(item: "Pending", *, approved: bool) -> dict[str, object]:
    return {
        "name": item.name,
        "server": item.server,
        "tool": item.tool,
        "changed": list(item.changed),
        "offered": dict(item.offered),
        "approved": approved,
    }


def _show(found: "list[Pending]", *, approved: bool) -> None:
    from rich.text import Text

    from grpc_tool_bridge.cli.consoles import console

    out = console()
    if not found:
        out.print("No tool waits to be approved")
    for item in found:
        text = Text(item.name, style="bold")
        text.append(f": {'approved' if approved else 'changed'} ({', '.join(item.changed)})", style="not bold")
        if not approved:
            for part in item.changed:
                now = item.offered.get(part)
                shown = now if isinstance(now, str) else json.dumps(now, ensure_ascii=False)
                text.append(f"\n  {part}: {shown}", style="not bold")
        out.print(text, soft_wrap=True)
