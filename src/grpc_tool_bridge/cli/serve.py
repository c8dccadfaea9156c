"""``serve``: a hub that runs until a signal."""

from typing import Annotated

from grpc_tool_bridge.cli import grpc_messages
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.log import LogLevel
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.serve_options import ServeOptions
from grpc_tool_bridge.cli.serving_options import SOURCE_HELP

ToolsOption = Annotated[list[str] | None, Option(metavar="SOURCE", help=f"{SOURCE_HELP} Repeatable.", complete="file")]


def serve(
    *,
    tools: ToolsOption = None,
    options: ServeOptions,
    services: GrpcOptions,
) -> int:
    """Run a hub that offers tools, until Ctrl-C or SIGTERM.

    It then accepts no new calls and waits for those in flight; a second Ctrl-C cancels them.
    """
    if options.log_level is LogLevel.DEBUG:
        grpc_messages.allow()
    settings = options.read_settings()
    from grpc_tool_bridge.cli import serve_run

    return serve_run.run(tools or (), options, services, settings)
