"""``init``: makes a small project with tools, their tests and settings, which works as it is."""

from pathlib import Path
from typing import Annotated

from grpc_tool_bridge.cli.options import JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument
from grpc_tool_bridge.cli.streams import require_stdout, write


def init(
    folder: Annotated[
        Path, Argument(metavar="FOLDER", help="Where to make it: a folder that does not exist, or is empty.")
    ],
    *,
    as_json: JsonOption = False,
) -> int:
    """Make a small project that works: tools, their tests, settings, and a README that says how to run it."""
    require_stdout()
    from grpc_tool_bridge.cli import project_files

    written = project_files.make_project(folder)
    if as_json:
        print_json({"folder": str(folder), "files": [str(path) for path in written]})
    else:
        write(project_files.next_steps(folder, written))
    return 0
