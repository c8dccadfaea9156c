"""``stubs``: writes a Python module with a typed method for each tool of the hub."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.streams import write
from grpc_tool_bridge.cli.tools import ToolsOfOption

if TYPE_CHECKING:
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

_STDOUT = Path("-")


async def stubs(
    hub: HubOptions,
    *,
    out: Annotated[
        Path, Option(metavar="FILE", help="Where to write the module, such as tools_api.py; -: print it.")
    ] = _STDOUT,
    check_file: Annotated[
        bool, Option("--check", help="Write nothing; exit with 1 if FILE is not what would be written.")
    ] = False,
    tools: Annotated[
        list[str] | None,
        Option(
            metavar="SOURCE",
            help="Read these tools instead, without a hub: module:attr, module, FILE.py or FILE.py:attr. Repeatable.",
            complete="file",
        ),
    ] = None,
    prefix: Annotated[str, Option(metavar="PREFIX", help="Only tools whose names begin with this.")] = "",
    class_name: Annotated[str, Option("--class", metavar="NAME", help="Name of the class.")] = "ToolsApi",
    blocking: Annotated[
        bool, Option("--sync", help="Write methods that block, for bridge.sync, instead of async ones.")
    ] = False,
    session: ToolsOfOption = None,
) -> None:
    """Write a Python module with a method for each tool of the hub, with its types and its docstring."""
    from grpc_tool_bridge.client.stub_text import stub_module, stub_specs

    specs = [spec for spec in stub_specs(await _specs(hub, session, tools)) if spec.name.startswith(prefix)]
    if not specs:
        what = f"no tools whose names begin with {prefix!r}" if prefix else "no tools"
        raise CommandError(f"there are {what}; grpc-tool-bridge tools lists those that there are")
    text = stub_module(specs, class_name=class_name, blocking=blocking)
    if check_file:
        _compare(out, text)
    elif out == _STDOUT:
        write(text)
    else:
        _write(out, text, len(specs))


def check(
    *, out: Path, check_file: bool, tools: list[str] | None, class_name: str, session: str | None, **_: object
) -> None:
    """Checks the arguments that do not need the hub; raises ArgumentError."""
    import keyword

    if check_file and out == _STDOUT:
        raise ArgumentError("--check compares a file; name it with --out FILE")
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise ArgumentError(f"--class: {class_name!r:.60} is not a name of a Python class, such as ToolsApi")
    if tools and session is not None:
        raise ArgumentError("--session: of a hub only; omit it with --tools")


async def _specs(hub: HubOptions, session: str | None, sources: list[str] | None) -> "list[ToolSpec]":
    if sources:
        from grpc_tool_bridge.cli.tool_sources import load_tools

        return [tool.spec for tool in load_tools(sources)]
    from grpc_tool_bridge.cli.connection import open_bridge

    async with open_bridge(hub, session, must_exist=True) as bridge:
        return [proxy.spec for proxy in bridge.tools.values()]


def _compare(out: Path, text: str) -> None:
    try:
        present = out.read_text(encoding="utf-8") if out.exists() else None
    except (OSError, ValueError) as error:
        raise file_error(error, out) if isinstance(error, OSError) else _differs(out) from None
    if present != text:
        raise (
            _differs(out)
            if present is not None
            else CommandError(f"{out} does not exist; run the command without --check")
        )


def _differs(out: Path) -> CommandError:
    return CommandError(f"{out} is not up to date with the tools; run the command without --check to write it")


def _write(out: Path, text: str, count: int) -> None:
    try:
        # A file that stays the same keeps its time.
        if not out.exists() or out.read_bytes() != text.encode():
            out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ArgumentError(f"--out: cannot write {out}: {error.strerror or error}") from None
    print(f"{out}: {count} tool{'s' * (count != 1)}", file=sys.stderr)  # noqa: T201 - stdout is for results
