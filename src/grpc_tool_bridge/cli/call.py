"""``call`` and ``stream``: print a tool's result, and its values as it yields them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption, OptionGroup, SessionOption
from grpc_tool_bridge.cli.output import print_json, print_value
from grpc_tool_bridge.cli.parameters import Argument, Option

if TYPE_CHECKING:
    from grpc_tool_bridge.client.bridge import ToolBridge
    from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
    from grpc_tool_bridge.errors import ToolBridgeError

ToolArgument = Annotated[str, Argument(metavar="TOOL", help="The tool's name.", complete="tool")]
WordsArgument = Annotated[
    list[str] | None,
    Argument(
        metavar="ARGS",
        help="The tool's arguments: JSON, or plain text for a parameter that takes text; - reads JSON from stdin.",
        complete="argument",
    ),
]


@dataclass(frozen=True, kw_only=True)
class CallOptions(OptionGroup):
    """The options of a call."""

    kwarg: Annotated[
        list[str] | None,
        Option("--kwarg", metavar="NAME=VALUE", help="An argument by name. Repeatable.", complete="kwarg"),
    ] = None
    timeout: Annotated[
        float | None,
        Option("--timeout", metavar="SECONDS", help="Deadline of the call. Default: the tool's own."),
    ] = None
    answer: Annotated[
        list[str] | None,
        Option(
            "--answer",
            metavar="JSON",
            help="Answer to a question of the tool: an object to accept with, true, or false. Repeatable, in order; "
            "further questions are declined. Default: questions are asked if stdin and stderr are a terminal.",
        ),
    ] = None
    session: SessionOption = None
    as_json: JsonOption = False
    traceback: Annotated[bool, Option("--traceback", help="If the tool fails, print its traceback at the hub.")] = False

    def check(self) -> None:
        """Checks the options that do not need the hub; raises ArgumentError."""
        if self.answer:
            from grpc_tool_bridge.cli.answers import GivenAnswers

            GivenAnswers(self.answer)


async def call(hub: HubOptions, tool: ToolArgument, args: WordsArgument = None, *, options: CallOptions) -> None:
    """Call a tool and print its result."""
    from grpc_tool_bridge.cli.answers import answers_for
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.errors import ToolBridgeError

    on_ask = answers_for(options.answer or ())
    async with open_bridge(hub, options.session, on_ask) as bridge:
        proxy, values, named = _prepare(bridge, tool, args, options)
        try:
            result = await proxy(*values, **named)
        except ToolBridgeError as error:
            raise _failure(error, options) from error
    print_json(result) if options.as_json else print_value(result)


async def stream(hub: HubOptions, tool: ToolArgument, args: WordsArgument = None, *, options: CallOptions) -> None:
    """Call a tool and print each value as it is yielded; progress and log go to stderr."""
    from contextlib import aclosing

    from grpc_tool_bridge.cli.answers import answers_for
    from grpc_tool_bridge.cli.connection import open_bridge
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.events import EventView
    from grpc_tool_bridge.errors import ToolBridgeError

    err = console(stderr=True)
    with EventView(console(), err) as events:
        on_ask = answers_for(options.answer or (), events.paused)
        async with open_bridge(hub, options.session, on_ask) as bridge:
            proxy, values, named = _prepare(bridge, tool, args, options)
            proxy = proxy.with_options(on_progress=events.progress, on_log=events.log)
            try:
                # If the reader leaves, by Ctrl-C or a closed pipe, the call is cancelled at the hub here.
                async with aclosing(proxy.stream(*values, **named)) as items:
                    async for item in items:
                        print_json(item) if options.as_json else print_value(item, events.out)
            except ToolBridgeError as error:
                raise _failure(error, options) from error


def _prepare(
    bridge: "ToolBridge", name: str, words: list[str] | None, options: CallOptions
) -> "tuple[AsyncGRPCProxyTool, list[Any], dict[str, Any]]":
    from grpc_tool_bridge.cli.arguments import parse_arguments
    from grpc_tool_bridge.cli.find_tool import named_spec
    from grpc_tool_bridge.errors import ValidationError

    spec = named_spec(bridge, name)
    proxy = bridge.tools[spec.name]
    if options.timeout is not None:
        try:
            proxy = proxy.with_options(timeout=options.timeout)
        except ValidationError as error:
            raise ArgumentError(f"--timeout: {error.message}") from None
    args, kwargs = parse_arguments(spec, words or (), options.kwarg or ())
    return proxy, args, kwargs


def _failure(error: "ToolBridgeError", options: CallOptions) -> CommandError:
    return CommandError(str(error), traceback=error.remote_traceback if options.traceback else "")
