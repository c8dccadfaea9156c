"""The output of commands for people, with rich; imported only where something is laid out."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.pretty import Pretty
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from grpc_tool_bridge.cli.failures import visible
from grpc_tool_bridge.cli.streams import PipeClosedError, write
from grpc_tool_bridge.values import tables

# People do not read more rows, and a table is laid out in memory; --json prints all.
MAX_ROWS = 200
# The cell of a row that has no number there.
_NOTHING = Text("")
# The width for a file or a pipe, so that nothing is cut off.
_PIPE_WIDTH = 1_000


class _Console(Console):
    """A console that leaves a closed pipe to the command, and shows control characters instead of sending them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders like any console; escapes the output, which tools of the hub control."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def on_broken_pipe(self) -> NoReturn:
        raise PipeClosedError


def console(*, stderr: bool = False) -> Console:
    """Makes a console for the current stdout or stderr, even if they are replaced later."""
    file = sys.stderr if stderr else sys.stdout
    made = _Console(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def print_value(value: Any, out: Console) -> None:
    """Prints a value, as ``output.print_value`` says."""
    if isinstance(value, str):
        text = visible(value) if out.is_terminal else value
        out.out(text, highlight=False) if out.stderr else write(text + "\n")
    elif isinstance(value, bytes) and not out.is_terminal and hasattr(sys.stdout, "buffer"):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    else:
        table = table_of(value)
        if table is None:
            out.print(Pretty(value))
            return
        out.print(rich_table([str(column) for column in table.columns], table.rows, table.index))
        if table.total > len(table.rows):
            out.print(f"… {table.total - len(table.rows):,} more rows; --json gives all")


def table_of(value: Any) -> tables.Table | None:
    """Reads a frame, or a list of dicts, as a table of at most ``MAX_ROWS`` rows; None for anything else."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and item for item in value):
        columns = list(dict.fromkeys(key for item in value[:MAX_ROWS] for key in item))
        rows = [[item.get(column, "") for column in columns] for item in value[:MAX_ROWS]]
        return tables.Table(columns, rows, None, len(value))
    return tables.frame_table(value, MAX_ROWS)


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], index: Sequence[Any] | None = None) -> RichTable:
    """Lays out a table; numbers are right-aligned."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    if index is not None:
        table.add_column("", style="dim")
    for number, column in enumerate(columns):
        filled = [row[number] for row in rows if row[number] != _NOTHING]
        is_number = bool(filled) and all(type(value) in (int, float) for value in filled)
        table.add_column(Text(visible(column)), justify="right" if is_number else "left", overflow="fold")
    for number, row in enumerate(rows):
        label = [] if index is None else [Text(visible(str(index[number])))]
        table.add_row(*label, *[cell if isinstance(cell, Text) else Text(visible(_cell(cell))) for cell in row])
    return table


def _cell(value: Any) -> str:
    return f"{value:,.6g}" if type(value) is float else str(value)
