"""Progress bars and tables in notebooks: Jupyter, VS Code, Colab and others that run IPython's kernel.

Tools, found tools, variables and the results of batches show themselves as tables. ``table`` does it for what is read
one by one, and ``ProgressBar`` shows the progress of a tool.
"""

import html
import sys
import time
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any, Self

from grpc_tool_bridge.client.html_tables import escaped
from grpc_tool_bridge.client.listing import Listing
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress

__all__ = ["ProgressBar", "table"]

# Seconds between two drawings of a bar; a tool may report thousands of times a second.
DRAW_INTERVAL = 0.1
_TEXT_WIDTH = 30


async def table(items: "Iterable[Any] | AsyncIterable[Any]") -> Listing[Any]:
    """Reads all of some items, and returns them as a list that a notebook shows as a table.

    ``await table(bridge.admin.sessions())`` shows the sessions of a hub; so do its calls, workers and runs.

    Args:
        items: What is read: messages, tools, dicts or dataclasses of one kind.
    """
    if isinstance(items, AsyncIterable):
        return Listing([item async for item in items])
    return Listing(items)


class ProgressBar:
    """Shows the progress of a tool: ``tool.with_options(on_progress=ProgressBar("indexing"))``.

    In a notebook it is a bar below the cell, in a terminal a line on stderr, and elsewhere nothing. As a context
    manager it shows at its end what the tool reported last, and whether the block failed.

    Args:
        label: Stands before the bar.

    Attributes:
        last: The last progress that was reported; None: none yet.
    """

    def __init__(self, label: str = "") -> None:
        self.last: Progress | None = None
        self._label = label
        self._drawn_at = 0.0
        self._display: Any = None
        self._failed = False
        self._in_notebook = is_notebook()
        self._in_terminal = not self._in_notebook and sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        """Takes what a tool reports; draws it at most every ``DRAW_INTERVAL`` seconds, and at its end."""
        self.last = progress
        now = time.monotonic()
        if self._is_done or now - self._drawn_at >= DRAW_INTERVAL:
            self._drawn_at = now
            self._draw()

    @property
    def _is_done(self) -> bool:
        return self.last is not None and 0 < self.last.total <= self.last.current

    def _draw(self) -> None:
        if self._in_notebook:
            import IPython.display  # noqa: PLC0415 - only where it runs

            shown: Any = IPython.display
            if self._display is None:
                self._display = shown.display(self, display_id=True)
            else:
                self._display.update(self)
        elif self._in_terminal:
            # The rest of a longer line before is deleted.
            end = "\n" if self._is_done or self._failed else ""
            sys.stderr.write(f"\r{self._line()}\x1b[K{end}")
            sys.stderr.flush()

    def _repr_html_(self) -> str:
        last = self.last or Progress()
        bounds = f'value="{last.current:g}" max="{last.total:g}"' if last.total > 0 else ""
        if self._is_done or self._failed:
            bounds = bounds or 'value="1" max="1"'
        colour = ' style="accent-color: #c62828"' if self._failed else ""
        bar = f"<progress {bounds}{colour}></progress>"
        text = html.escape(self._numbers())
        words = [escaped(self._label), bar, text, escaped(last.message), "failed" if self._failed else ""]
        return f'<div class="tex2jax_ignore mathjax_ignore">{" ".join(word for word in words if word)}</div>'

    def _numbers(self) -> str:
        if self.last is None:
            return ""
        if self.last.total <= 0:
            return f"{self.last.current:g}"
        return f"{self.last.current:g}/{self.last.total:g} ({self.last.current / self.last.total:.0%})"

    def _line(self) -> str:
        last = self.last or Progress()
        part = min(max(last.current / last.total, 0.0), 1.0) if last.total > 0 else 0.0
        bar = f"[{'#' * round(part * _TEXT_WIDTH):<{_TEXT_WIDTH}}]" if last.total > 0 else ""
        shown = [html.unescape(escaped(text)) for text in (self._label, last.message)]
        words = [shown[0], bar, self._numbers(), shown[1], "failed" if self._failed else ""]
        return " ".join(word for word in words if word)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = error is not None
        if self._failed or (self.last is not None and not self._is_done):
            self._draw()
            if self._in_terminal and not self._failed:
                sys.stderr.write("\n")


def is_notebook() -> bool:
    """Returns whether this program runs in the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return found is not None and getattr(found, "kernel", None) is not None
