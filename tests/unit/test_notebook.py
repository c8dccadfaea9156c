"""Progress bars and tables: outside a notebook, and as what a notebook shows."""

import io
import sys
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import notebook
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    # Every report is drawn.
    monkeypatch.setattr(notebook, "DRAW_INTERVAL", 0.0)
    return made


async def test_what_is_read_one_by_one_becomes_a_table() -> None:
    async def read() -> AsyncIterator[dict[str, int]]:
        yield {"n": 1}
        yield {"n": 2}

    found = await notebook.table(read())
    assert found == [{"n": 1}, {"n": 2}]
    assert "<td" in found._repr_html_()
    assert await notebook.table([1]) == [1]


def test_a_terminal_has_a_line_that_ends_with_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    bar = notebook.ProgressBar("in\x1bdex")
    bar(Progress(current=1, total=4, message="a"))
    bar(Progress(current=4, total=4, message="b\u202e"))
    first, second = terminal.getvalue().split("\r")[1:]
    assert first == "in\\x1bdex [########                      ] 1/4 (25%) a\x1b[K"
    assert second == "in\\x1bdex [##############################] 4/4 (100%) b\\u202e\x1b[K\n"


def test_a_block_ends_with_what_was_reported_last(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    monkeypatch.setattr(notebook, "DRAW_INTERVAL", 1e9)
    with notebook.ProgressBar() as bar:
        bar(Progress(current=7))
    assert terminal.getvalue() == "\r7\x1b[K\n"
    bar = notebook.ProgressBar("x")
    bar.last = Progress(current=7)
    with pytest.raises(ValueError, match="oh"), bar:
        raise ValueError("oh")
    assert terminal.getvalue().endswith("\rx 7 failed\x1b[K\n")


def test_without_a_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    bar = notebook.ProgressBar()
    bar(Progress(current=1, total=1))
    assert (out.getvalue(), bar.last) == ("", Progress(current=1, total=1))


def test_a_notebook_gets_a_bar_whose_texts_are_escaped() -> None:
    bar = notebook.ProgressBar("<b>")
    assert "<progress ></progress>" in bar._repr_html_()
    bar.last = Progress(current=1, total=4, message="<script>")
    shown = bar._repr_html_()
    assert '<progress value="1" max="4"></progress> 1/4 (25%)' in shown
    assert "&lt;b&gt;" in shown
    assert "<script" not in shown
    bar.last = Progress(current=float("nan"), total=float("inf"))
    assert "<progress" in bar._repr_html_()
