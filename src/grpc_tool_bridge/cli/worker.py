"""``worker``: a process that offers tools to a hub until a signal."""

from typing import Annotated

from grpc_tool_bridge.cli import grpc_messages
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.log import LogLevel
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.parameters import Argument
from grpc_tool_bridge.cli.serving_options import SOURCE_HELP
from grpc_tool_bridge.cli.worker_options import WorkerOptions


def worker(
    sources: Annotated[
        list[str] | None,
        Argument(metavar="SOURCE", help=f"{SOURCE_HELP} Optional with --agents, --mcp and --grpc.", complete="file"),
    ] = None,
    *,
    options: WorkerOptions,
    services: GrpcOptions,
    hub: HubOptions,
) -> int:
    """Offer tools to a hub over a connection that this process opens, until Ctrl-C or SIGTERM.

    It then accepts no new calls and waits for those in flight; a second Ctrl-C cancels them. It waits for a hub
    that cannot be reached, and reconnects if the connection is lost.
    """
    others = (options.agents, options.mcp, options.mcp_config, services.names_some)
    if not sources and not any(others):
        raise ArgumentError(
            "missing argument 'SOURCE'; see grpc-tool-bridge worker --help (it is optional with --agents, --mcp and "
            "--grpc)"
        )
    if options.log_level is LogLevel.DEBUG:
        grpc_messages.allow()
    settings = options.read_settings(token_file=hub.token_file)
    from grpc_tool_bridge.cli import worker_run

    return worker_run.run(sources or [], options, services, hub, settings)
