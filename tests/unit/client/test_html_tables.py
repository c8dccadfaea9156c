"""Tables for notebooks: whatever a peer sends is text in them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from grpc_tool_bridge import AsyncGRPCProxyTool, SessionContext, ToolExecutionError
from grpc_tool_bridge.client import html_tables
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.listing import BatchResults, Listing
from grpc_tool_bridge.client.tools import Tools
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

HOSTILE = "<script>alert('x')</script>&amp;\"' onclick=\x1b[2J\u202eevil\u200b$x^2$"
OURS = {"div", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}


class Reader(HTMLParser):
    """Reads the elements, and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes.update(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def read(text: str) -> Reader:
    found = Reader(text)
    assert found.elements <= OURS
    assert found.attributes <= {("style", "text-align: left"), ("class", "tex2jax_ignore mathjax_ignore")}
    assert not set("\x1b\u202e\u200b") & set(text)
    return found


@pytest.fixture
async def context() -> SessionContext:
    return ToolBridgeClient("127.0.0.1:1").session_context


def spec(name: str = "add", **fields: Any) -> pb.ToolSpec:
    arguments = [pb.ArgumentSpec(name="a", python_type="int", required=True, description="First.")]
    return pb.ToolSpec(name=name, **{"description": "Adds.\nMore.", "arguments": arguments, **fields})


def hostile() -> pb.ToolSpec:
    argument = pb.ArgumentSpec(name=HOSTILE, python_type=HOSTILE, description=HOSTILE)
    return pb.ToolSpec(name=HOSTILE, description=HOSTILE, arguments=[argument])


async def test_tools_are_a_row_each_and_one_shows_its_arguments(context: SessionContext) -> None:
    proxy = AsyncGRPCProxyTool(spec(return_type=pb.ArgumentSpec(python_type="int")), context)
    for shown in (Tools({"add": proxy}), Listing([proxy])):
        found = read(shown._repr_html_())
        assert found.rows == [["tool", "arguments", "description"], ["add", "(a: int) -> int", "Adds."]]
        assert "1 tool" in found.texts
    one = read(proxy._repr_html_())
    assert one.rows == [["argument", "type", "required", "description"], ["a", "int", "yes", "First."]]


async def test_what_a_hostile_peer_sends_is_text(context: SessionContext) -> None:
    proxy = AsyncGRPCProxyTool(hostile(), context)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\u200b", "\\u200b")
    assert read(Tools({"x": proxy})._repr_html_()).rows[1] == [shown, "", shown]
    assert read(proxy._repr_html_()).rows[1] == [shown, shown, "", shown]
    results = BatchResults([HOSTILE, ToolExecutionError("t", HOSTILE, HOSTILE, {})], [HOSTILE, "t"])
    assert read(results._repr_html_()).rows[1] == ["0", shown, "ok", shown]
    session = pb.SessionInfo(session_id=HOSTILE, metadata={HOSTILE: HOSTILE})
    assert read(Listing([session])._repr_html_()).rows[1][0] == shown
    assert read(Listing([{HOSTILE: HOSTILE}])._repr_html_()).rows == [[shown], [shown]]
    assert read(html_tables.table([HOSTILE], [[HOSTILE]], title=HOSTILE)).rows == [[shown], [shown]]


def test_results_say_which_call_failed() -> None:
    error = ToolExecutionError("add", "ValueError", "no", {})
    found = read(BatchResults([3, error, None, "", [1]], ["add"] * 5)._repr_html_())
    assert found.rows[1:] == [
        ["0", "add", "ok", "3"],
        ["1", "add", "failed", str(error)],
        ["2", "add", "ok", "None"],
        ["3", "add", "ok", ""],
        ["4", "add", "ok", "[1]"],
    ]
    assert "5 calls, 1 failed" in found.texts
    assert BatchResults([1, 2]) == [1, 2]


@dataclass
class Call:
    tool_id: str
    started_at: datetime
    worker_id: str = ""


def test_records_have_a_column_for_each_field_that_any_of_them_has() -> None:
    info = pb.VariableInfo(name="x", type="int", size_bytes=3)
    info.metadata.revision = 7
    info.metadata.created_at.seconds = 1_767_323_045
    info.metadata.tags["unit"] = "m"
    found = read(Listing([info])._repr_html_())
    columns = dict(zip(*found.rows, strict=True))
    assert columns["name"] == "x"
    assert (columns["revision"], columns["tags"], columns["size bytes"]) == ("7", "unit=m", "3")
    assert columns["created at"] == "2026-01-02 03:04:05"
    assert "created by" not in columns
    worker = pb.WorkerInfo(worker_id="w", tools=["a", "b"])
    columns = dict(zip(*read(Listing([worker])._repr_html_()).rows, strict=True))
    assert (columns["worker id"], columns["tools"]) == ("w", "a, b")
    call = Call("add", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert read(Listing([call])._repr_html_()).rows == [["tool id", "started at"], ["add", "2026-01-02 03:04:05"]]
    assert read(Listing[Any]()._repr_html_()).rows == [[]]


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError


def test_long_lists_and_long_and_broken_values_are_cut_short() -> None:
    rows = read(Listing([{"n": n} for n in range(10_000)])._repr_html_())
    assert len(rows.rows) == 1 + html_tables.MAX_ROWS
    assert "… 9,800 more" in rows.texts
    assert read(BatchResults(["x" * 10_000], ["a"])._repr_html_()).rows[1][3] == "x" * 300 + "…"
    assert read(BatchResults([Bad()], ["a"])._repr_html_()).rows[1][3] == "<Bad>"


def test_a_moment_out_of_range_is_none() -> None:
    session = pb.SessionInfo(session_id="s")
    session.created_at.seconds = 2**62
    columns = dict(zip(*read(Listing([session])._repr_html_()).rows, strict=True))
    assert columns["session id"] == "s"
