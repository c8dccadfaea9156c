"""Shows a streaming tool's progress as a bar and its log as lines, both on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress as ProgressEvent


class EventView:
    """Shows a stream's events for the duration of its context.

    Args:
        out: Where the stream's values go.
        err: Where its events go; a bar is drawn only if that is a terminal.

    Attributes:
        out: Where to print the values, so that they and the bar do not overwrite each other.
    """

    def __init__(self, out: Console, err: Console) -> None:
        on_one_screen = out.is_terminal and err.is_terminal
        self.out = err if on_one_screen else out
        self._err = err
        self._task: TaskID | None = None
        self._paused = False
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            redirect_stdout=on_one_screen,
            redirect_stderr=False,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pauses the display for the duration of the context."""
        self._paused = True
        self._bar.stop()
        try:
            yield
        finally:
            self._paused = False

    def progress(self, event: ProgressEvent) -> None:
        """Draws the progress bar."""
        if not self._err.is_terminal or self._paused:
            return
        self._bar.start()
        if self._task is None:
            self._task = self._bar.add_task("", total=None)
        # A tool that does not know its total reports 0.
        self._bar.update(
            self._task, completed=event.current, total=event.total or None, description=one_line(event.message)
        )

    def log(self, record: LogRecord) -> None:
        """Prints a line of the tool's log."""
        facts = "".join(f" {name}={value}" for name, value in sorted(record.fields.items()))
        self._err.print(one_line(f"{record.level} {record.logger}: {record.message}{facts}"), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._bar.stop()
