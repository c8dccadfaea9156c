"""What a notebook shows, in a real kernel."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from integration.test_cli import serving
from support.patience import PATIENCE

SOURCE = """
from grpc_tool_bridge import ToolContext, tool

@tool
def add(a: int, b: int) -> int:
    "Adds <b>two</b> numbers."
    return a + b

@tool
def index(ctx: ToolContext, pages: int) -> int:
    for page in range(pages):
        ctx.progress(page + 1, pages, f"page <i>{page}</i>")
    return pages
"""

CELLS = """
from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.notebook import ProgressBar, table
bridge = GRPCToolBridge(ADDRESS)
tools = await bridge.initialize("mine")
tools
---
tools["add"]
---
await bridge.search_tools("add numbers")
---
await bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}, {"tool_id": "add", "args": [1, "x"]}])
---
await bridge.session_context.set_variable("x", 1)
await bridge.session_context.list_variables()
---
await table(bridge.admin.sessions())
---
with ProgressBar("indexing") as bar:
    print(await tools["index"].with_options(on_progress=bar)(500))
---
await bridge.close()
other = GRPCToolBridge(ADDRESS)
other.sync.initialize()
with ProgressBar("again") as bar:
    print(other.sync.tools["index"].with_options(on_progress=bar)(3))
other.sync.search_tools("add")
---
other.sync.close()
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[list[Any]]]:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "notebook_tools.py").write_text(SOURCE)
    with serving("--tools", str(folder / "notebook_tools.py"), stderr=subprocess.DEVNULL) as (announced, _):
        yield run(CELLS.replace("ADDRESS", repr(announced["address"])), folder)


def run(cells: str, folder: Path) -> list[list[Any]]:
    """Runs cells in a kernel of this Python; returns the outputs of each."""
    book = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]  # the library is not typed
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells.strip().split("\n---\n")]  # type: ignore[no-untyped-call]  # as above
    client = NotebookClient(
        book, timeout=int(PATIENCE), kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell.outputs for cell in book.cells]


def html(outputs: list[Any]) -> str:
    (found,) = [output.data["text/html"] for output in outputs if "data" in output and "text/html" in output.data]
    return str(found)


def test_tools_found_tools_and_one_tool_are_tables(outputs: list[list[Any]]) -> None:
    for number in (0, 2):
        assert "(a: int, b: int) -&gt; int" in html(outputs[number])
        assert "Adds &lt;b&gt;two&lt;/b&gt; numbers." in html(outputs[number])
    assert "2 tools" in html(outputs[0])
    assert "required" in html(outputs[1])
    assert "text/plain" in outputs[0][0].data


def test_results_variables_and_sessions_are_tables(outputs: list[list[Any]]) -> None:
    assert "2 calls, 1 failed" in html(outputs[3])
    assert "should be a valid integer" in html(outputs[3])
    assert ">x</td>" in html(outputs[4])
    assert ">mine</td>" in html(outputs[5])


@pytest.mark.parametrize(("number", "end"), [(6, "500/500 (100%)"), (7, "3/3 (100%)")])
def test_progress_is_one_bar_that_changes(outputs: list[list[Any]], number: int, end: str) -> None:
    bars = [output for output in outputs[number] if output.output_type == "display_data"]
    assert len(bars) == 1
    shown = bars[0].data["text/html"]
    assert end in shown
    assert "<i>" not in shown
    assert any(output.get("name") == "stdout" for output in outputs[number])


def test_the_blocking_view_shows_its_tables_too(outputs: list[list[Any]]) -> None:
    (found,) = [output for output in outputs[7] if output.output_type == "execute_result"]
    assert "(a: int, b: int)" in found.data.get("text/html", "")
