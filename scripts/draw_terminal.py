"""Draws docs/images/terminal.svg: a terminal in which the tools of README.md are served and called.

The commands are run, and what they print is drawn. ``--check`` draws nothing, and fails if the picture shows something
else than what the commands print.
"""

import argparse
import ast
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "terminal.svg"
SERVE = "grpc-tool-bridge serve --tools my_tools.py"
COMMANDS = (
    "grpc-tool-bridge tools",
    "grpc-tool-bridge call add 2 3",
    "grpc-tool-bridge call ad 2 3",
    "grpc-tool-bridge stream countdown 3",
)
COLUMNS = 72
# The address that a reader's hub has.
ADDRESS = "127.0.0.1:50051"
# Seconds that a command may take; only bounds a hang.
PATIENCE = 120.0
# As Rich has it, without its font, which would come from another host, and with a margin as small as the frame's.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>Two tools, served and called</title>
<style>
.{unique_id}-matrix{{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:{char_height}px}}
.{unique_id}-title{{font-size:18px;font-family:system-ui,sans-serif}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def tools() -> str:
    """Takes the two tools, and what they import, from the program of README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError("README.md has no Python program")
    kept = ast.Module([node for node in ast.parse(found[1]).body if is_of_the_tools(node)], [])
    return ast.unparse(kept) + "\n"


def is_of_the_tools(node: ast.stmt) -> bool:
    """Says whether a statement is an import or a function with a decorator."""
    imports = (ast.Import, ast.ImportFrom)
    return isinstance(node, imports) or (isinstance(node, ast.AsyncFunctionDef) and bool(node.decorator_list))


def program(command: str) -> list[str]:
    """Makes the command line that runs the program of this environment."""
    return [sys.executable, "-m", "grpc_tool_bridge.cli", *shlex.split(command)[1:]]


def run(folder: Path) -> list[str]:
    """Serves the tools and calls them.

    Returns:
        The lines of the terminal, with colours as ANSI sequences.
    """
    (folder / "my_tools.py").write_text(tools(), encoding="utf-8")
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "PYTHONPATH": source}
    serve = [*program(SERVE), "--address", "127.0.0.1:0"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(serve, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=quiet, encoding="utf-8") as hub:
        if hub.stdout is None:
            raise ValueError("the hub has no output")
        try:
            told = []
            while "Ctrl-C" not in "".join(told):
                line = hub.stdout.readline()
                if not line:
                    raise ValueError(f"the hub has ended: {''.join(told)}")
                told.append(line.rstrip("\n"))
            address = re.search(r"127\.0\.0\.1:\d+", told[0])
            if address is None:
                raise ValueError(f"the hub does not say where it is: {told[0]}")
            lines = [prompt(f"{SERVE} &"), *(line.replace(address[0], ADDRESS) for line in told[:-1])]
            for command in COMMANDS:
                lines += [prompt(command), *output(command, folder, {**env, "TOOL_BRIDGE_ADDRESS": address[0]})]
        finally:
            hub.terminate()
    return lines


def prompt(command: str) -> str:
    """Shows a command as it stands in a terminal."""
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m"


def output(command: str, folder: Path, env: Mapping[str, str]) -> list[str]:
    """Runs a command, and takes what it prints on both streams."""
    words = program(command)
    both = subprocess.STDOUT
    ran = subprocess.run(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=both, encoding="utf-8", timeout=PATIENCE, check=False
    )
    return ran.stdout.rstrip("\n").split("\n")


def draw(lines: list[str]) -> str:
    """Draws the lines."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(Text.from_ansi(line.rstrip()), highlight=False, soft_wrap=True)
    svg = console.export_svg(title="Two tools, served and called", code_format=SVG, unique_id="terminal")
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


def main() -> None:
    """Draws the terminal, or compares it."""
    parser = argparse.ArgumentParser(description="Draws docs/images/terminal.svg from commands that are run.")
    parser.add_argument("--check", action="store_true", help="draw nothing, and fail if the picture is not up to date")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(run(Path(folder)))
    if not check:
        PICTURE.write_text(drawn, encoding="utf-8")
    elif not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != drawn:
        sys.exit("docs/images/terminal.svg does not show what the commands print: run `make pictures`")


if __name__ == "__main__":
    main()
