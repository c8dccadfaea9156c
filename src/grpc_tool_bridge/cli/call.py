"""``call`` and ``stream``: a tool's result, and what a tool yields as it comes."""

from contextlib import aclosing
from typing import Annotated, Any

import typer

from grpc_tool_bridge.cli.arguments import parse_arguments
from grpc_tool_bridge.cli.connection import open_bridge
from grpc_tool_bridge.cli.events import EventView
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, SessionOption
from grpc_tool_bridge.cli.output import console, print_json, print_value
from grpc_tool_bridge.cli.tools import find_tool
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError

ToolArgument = Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")]
WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGS",
        help="Its arguments: JSON, or the text itself where the tool takes text; - is JSON on stdin.",
    ),
]
KwargOption = Annotated[
    list[str] | None,
    typer.Option("--kwarg", metavar="NAME=VALUE", help="An argument by name. May be given many times."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="End the call after so long; the tool's own limit without it."),
]
TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="After a tool's error, print its traceback at the hub.")
]


async def call(
    hub: HubOptions,
    tool: ToolArgument,
    args: WordsArgument = None,
    kwarg: KwargOption = None,
    timeout: TimeoutOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Call a tool and print its result."""
    async with open_bridge(hub, session) as bridge:
        proxy, values, named = _prepare(bridge, tool, args, kwarg, timeout)
        try:
            result = await proxy(*values, **named)
        except ToolBridgeError as error:
            raise _failure(error, traceback=traceback) from error
    print_json(result) if as_json else print_value(result)


async def stream(
    hub: HubOptions,
    tool: ToolArgument,
    args: WordsArgument = None,
    kwarg: KwargOption = None,
    timeout: TimeoutOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Call a tool and print each value as it yields it; its progress and log go to stderr."""
    async with open_bridge(hub, session) as bridge:
        proxy, values, named = _prepare(bridge, tool, args, kwarg, timeout)
        with EventView(console(), console(stderr=True)) as events:
            proxy = proxy.with_options(on_progress=events.progress, on_log=events.log)
            try:
                # What a reader leaves behind, by Ctrl-C or a closed pipe, is cancelled at the hub here.
                async with aclosing(proxy.stream(*values, **named)) as items:
                    async for item in items:
                        print_json(item) if as_json else print_value(item, events.out)
            except ToolBridgeError as error:
                raise _failure(error, traceback=traceback) from error


def _prepare(
    bridge: ToolBridge, name: str, words: list[str] | None, pairs: list[str] | None, timeout: float | None
) -> tuple[AsyncGRPCProxyTool, list[Any], dict[str, Any]]:
    spec = find_tool([proxy.spec for proxy in bridge.tools.values()], name)
    proxy = bridge.tools[spec.name]
    if timeout is not None:
        try:
            proxy = proxy.with_options(timeout=timeout)
        except ValidationError as error:
            raise ArgumentError(f"--timeout: {error.message}") from None
    args, kwargs = parse_arguments(spec, words or (), pairs or ())
    return proxy, args, kwargs


def _failure(error: ToolBridgeError, *, traceback: bool) -> CommandError:
    return CommandError(str(error), traceback=error.remote_traceback if traceback else "")
