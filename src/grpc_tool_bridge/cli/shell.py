"""``shell``: a Python prompt with the tools of a hub."""

from typing import Annotated

from grpc_tool_bridge.cli.options import HubOptions, SessionOption
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.streams import require_stdout


def shell(
    hub: HubOptions,
    *,
    session: SessionOption = None,
    plain: Annotated[
        bool, Option("--plain", help="Use the plain prompt of Python even if IPython is installed.")
    ] = False,
) -> int:
    """Open a Python prompt that takes await, with bridge and tools ready: await tools.add(1, 2).

    It is IPython where that is installed. If stdin is no terminal, it runs the program that stands there.
    """
    require_stdout()
    from grpc_tool_bridge.cli import shell_run

    return shell_run.run(hub, session or None, plain=plain)
