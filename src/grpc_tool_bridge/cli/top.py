"""``top``: what a hub does at the moment, as a screen that changes."""

from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator

    from grpc_tool_bridge.cli.activity import Activity
    from grpc_tool_bridge.client.bridge import GRPCToolBridge


async def top(
    hub: HubOptions,
    *,
    interval: Annotated[
        float, Option("--interval", min=0.1, max=3600.0, metavar="SECONDS", help="Time between two looks at the hub.")
    ] = 1.0,
    count: Annotated[
        int | None,
        Option(
            "--count",
            min=1,
            metavar="N",
            help="Stop after this many looks. Default: at q or Ctrl-C; after one where stdout is no terminal.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the hub does: calls per second, how long they take, running calls and workers.

    In a terminal the screen changes until q or Ctrl-C. Elsewhere it is printed once.
    """
    from contextlib import aclosing

    from grpc_tool_bridge.cli import activity_text
    from grpc_tool_bridge.cli.connection import address_of, open_hub
    from grpc_tool_bridge.cli.consoles import console

    out = console()
    async with open_hub(hub) as bridge:
        if out.is_terminal and not out.is_dumb_terminal and not as_json:
            await _show(bridge, address_of(bridge), out, interval, count)
            return
        async with aclosing(_looks(bridge, interval)) as looks:
            left = count or 1
            async for seen in looks:
                if as_json:
                    print_json(activity_text.facts(seen))
                else:
                    out.print(activity_text.screen(seen, address_of(bridge)))
                left -= 1
                if not left:
                    return


async def _looks(bridge: "GRPCToolBridge", interval: float) -> "AsyncGenerator[Activity, None]":
    """Looks at the hub again and again; the first look takes ``interval``, since rates need two."""
    import asyncio

    from grpc_tool_bridge.cli.activity import compare, look

    before = await look(bridge)
    while True:
        await asyncio.sleep(interval)
        now = await look(bridge)
        yield compare(before, now)
        before = now


async def _show(bridge: "GRPCToolBridge", address: str, out: Any, interval: float, count: int | None) -> None:
    """Shows the screen until q is pressed, ``count`` looks were shown, or the command is cancelled."""
    import asyncio

    from rich.live import Live

    from grpc_tool_bridge.cli import activity_text
    from grpc_tool_bridge.cli.keys import keys_pressed

    quits = asyncio.Event()

    def press(key: str) -> None:
        if key in "qQ":
            quits.set()

    with keys_pressed(press), Live(console=out, screen=True, auto_refresh=False) as live:
        live.update(activity_text.waiting(address), refresh=True)

        async def follow() -> None:
            left = count
            async for seen in _looks(bridge, interval):
                live.update(activity_text.screen(seen, address, rows=out.height), refresh=True)
                left = left and left - 1
                if left == 0:
                    return

        await _first(asyncio.ensure_future(follow()), asyncio.ensure_future(quits.wait()))


async def _first(*tasks: "asyncio.Future[Any]") -> None:
    """Waits until one of some tasks is done, and cancels the others; raises what it raised."""
    import asyncio

    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
