"""The example tools, called as the functions that they are, and through a hub."""

import importlib.util
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest.mock import Mock, PropertyMock

import pandas as pd
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolExecutionError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

TOOLS_FILE = Path(__file__).parents[2] / "examples" / "tools.py"


@pytest.fixture(scope="module")
def tools() -> Iterator[ModuleType]:
    """Loads the file as a user's own, which is in no package."""
    spec = importlib.util.spec_from_file_location("example_tools", TOOLS_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


class Call:
    """A context as the bridge would fill it in, and what the tool said through it."""

    def __init__(self) -> None:
        self.events: list[Progress | LogRecord] = []
        self.ctx = ToolContext(
            session_id="s",
            tool_name="scan_tree",
            request_id="",
            metadata={},
            deadline=time.monotonic() + 3600,
            loop=cast("Any", None),
            runtime=cast("Any", None),
            emit=self.events.append,
        )

    @property
    def progress(self) -> list[tuple[float, float, str]]:
        return [(event.current, event.total, event.message) for event in self.events if isinstance(event, Progress)]

    @property
    def log(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, LogRecord)]


@pytest.fixture
def call() -> Call:
    return Call()


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


class TestCalculate:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("2+2", 4),
            (" 2 * (3 + 4) ** 2 ", 98),
            ("7 // 2", 3),
            ("-7 % 3", 2),
            ("1 / 4", 0.25),
            ("2**-1", 0.5),
            ("sqrt(2) * sin(pi / 4)", 1.0),
            ("log(8, 2)", 3.0),
            ("round(2.567, 2)", 2.57),
            ("round(2.5)", 2),
            ("max(1, 2.5)", 2.5),
            ("factorial(20)", math.factorial(20)),
            ("2**64", 2**64),
            ("1**999999999", 1),
            ("+".join(["1"] * 300), 300),
        ],
    )
    def test_an_expression_gives_its_value_and_type(self, tools: ModuleType, expression: str, expected: float) -> None:
        result = tools.calculate(expression)

        assert result == pytest.approx(expected)
        assert type(result) is type(expected)

    @pytest.mark.parametrize(
        ("expression", "reason"),
        [
            ("1/0", "divides by zero"),
            ("5 % 0", "divides by zero"),
            ("0 ** -1", "divides by zero"),
            ("9**9**5", "too large (a power)"),
            ("2**4096", "too large (the result)"),
            ("*".join(["9**999"] * 9), "too large"),
            ("10.0**400", "too large"),
            ("1e999", "too large"),
            ("exp(1000)", "too large"),
            ("factorial(501)", "up to 500"),
            ("round(5, -10**9)", "up to 300 places"),
            ("(-8)**0.5", "not a real number"),
            ("sqrt", "not a real number"),
            ("sqrt(-1)", "math domain error"),
            ("'a' * 10**9", "'a' is not a number"),
            ("'%1000000000d' % 1", "is not a number"),
            ("True", "True is not a number"),
            ("1j", "1j is not a number"),
            ("x + 1", "no name 'x'; there are e, pi, tau"),
            ("__import__('os')", "no function '__import__'; there are acos"),
            ("(1).real", "are allowed"),
            ("[1][0]", "are allowed"),
            ("1 < 2", "are allowed"),
            ("not 1", "are allowed"),
            ("2(3)", "are allowed"),
            ("x = 1", "invalid syntax"),
            ("1; 2", "invalid syntax"),
            ("", "invalid syntax"),
            ("(1", "never closed"),
            ("-" * 900 + "1", "nested too deep"),
            ("1\0", "null"),
        ],
    )
    def test_a_bad_expression_says_what_is_wrong_with_it(self, tools: ModuleType, expression: str, reason: str) -> None:
        with pytest.raises(ValueError, match=r"^cannot calculate") as caught:
            tools.calculate(expression)

        assert reason in str(caught.value)

    def test_a_long_expression_is_refused_and_not_repeated(self, tools: ModuleType) -> None:
        with pytest.raises(ValueError, match="1,001 characters, the limit is 1,000") as caught:
            tools.calculate("1" * 1001)

        assert len(str(caught.value)) < 100


class TestSearchDocs:
    @pytest.fixture
    def index(self, tools: ModuleType, tmp_path: Path) -> Iterator[Any]:
        write(
            tmp_path,
            {
                "zoo/__init__.py": '"""Animals and their cages."""',
                "zoo/cats.py": (
                    '"""Cats."""\n'
                    "raise SystemExit('imported')\n"
                    'class Lion:\n  """A lion roars.\n\n  It sleeps all day, don\'t wake it."""\n'
                    '  def feed_now(self):\n    """Feeds the lion."""\n'
                    "  async def wake(self):\n    '''Wakes the lion at once.'''\n"
                    '  def _hide(self):\n    """Private lion."""\n'
                    'def count():\n  """Counts cats."""\n  def inner():\n    """Inner lion."""\n'
                ),
                "zoo/tests/test_cats.py": '"""Tests the lion."""',
                "site-packages/lion.py": '"""Somebody else\'s lion."""',
                "template.py": "class {{lion}}: pass",
            },
        )
        with closing(tools.DocIndex(tmp_path)) as index:
            yield index

    @staticmethod
    def names(index: Any, query: str) -> set[str]:
        return {hit.name for hit in index.search(query, 10)}

    def test_every_public_entry_of_the_library_is_found_and_nothing_else(self, index: Any) -> None:
        assert self.names(index, "lion") == {"zoo.cats.Lion", "zoo.cats.Lion.feed_now", "zoo.cats.Lion.wake"}

    def test_a_hit_tells_kind_first_line_and_the_part_that_matches(self, index: Any) -> None:
        (hit,) = index.search("sleeps", 5)

        assert (hit.name, hit.kind, hit.summary) == ("zoo.cats.Lion", "class", "A lion roars.")
        assert "It sleeps all day" in hit.snippet
        assert hit.rank < 0

    def test_kinds_are_told_apart(self, index: Any) -> None:
        kinds = {hit.name: hit.kind for hit in index.search("animals OR cats OR feeds", 10)}

        assert kinds["zoo"] == kinds["zoo.cats"] == "module"
        assert kinds["zoo.cats.Lion.feed_now"] == kinds["zoo.cats.count"] == "function"

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("Lion.feed_now()", {"zoo.cats.Lion.feed_now"}),
            ("don't wake it!", {"zoo.cats.Lion"}),
            ("name: animals (cages)", {"zoo"}),
            ('"at once"', {"zoo.cats.Lion.wake"}),
            ('"once at"', set()),
            ("cag*", {"zoo"}),
            ("ani*", {"zoo"}),
            ("ani", set()),
            ("roars AND sleeps", {"zoo.cats.Lion"}),
            ("wakes NOT roars", {"zoo.cats.Lion.wake"}),
            ("animals AND roars", set()),
            ("animals and roars", {"zoo", "zoo.cats.Lion"}),
            ("feeding", {"zoo.cats.Lion.feed_now"}),
            ("unicorn", set()),
        ],
    )
    def test_a_query_finds(self, index: Any, query: str, found: set[str]) -> None:
        assert self.names(index, query) == found

    def test_an_entry_with_all_the_words_hides_those_with_some(self, index: Any) -> None:
        assert self.names(index, "roars sleeps") == {"zoo.cats.Lion"}
        assert self.names(index, "roars cages") == {"zoo.cats.Lion", "zoo"}

    def test_the_limit_keeps_the_best(self, index: Any) -> None:
        best, *others = index.search("lion", 10)

        assert index.search("lion", 1) == [best]
        assert all(best.rank <= other.rank for other in others)

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("", "it has no words"),
            ("( ) ++", "it has no words"),
            ('the "lion', "not closed"),
            ("lion AND", "go between two words"),
            ("OR lion", "go between two words"),
            ("NOT", "go between two words"),
        ],
    )
    def test_a_malformed_query_says_what_is_wrong_with_it(self, index: Any, query: str, reason: str) -> None:
        with pytest.raises(ValueError, match=r"^cannot search for") as caught:
            index.search(query, 5)

        assert reason in str(caught.value)

    def test_threads_that_come_together_share_one_index(self, index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        build = Mock(wraps=index._build)
        monkeypatch.setattr(index, "_build", build)

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: self.names(index, "lion"), range(32)))

        assert all(names == found[0] for names in found)
        assert len(found[0]) == 3
        build.assert_called_once()

    @pytest.mark.parametrize("limit", [0, -1, 101])
    def test_a_limit_out_of_range_is_refused(self, tools: ModuleType, limit: int) -> None:
        with pytest.raises(ValueError, match=f"limit is {limit}: give a number from 1 to 100"):
            tools.search_docs("lion", limit)

    def test_the_standard_library_is_indexed_without_being_imported(self, tools: ModuleType) -> None:
        before = set(sys.modules)

        hits = tools.search_docs("textwrap.dedent", 3)

        assert "textwrap.dedent" in [hit.name for hit in hits]
        assert "turtle" not in set(sys.modules) - before


class TestScanTree:
    def test_rows_come_in_the_order_of_their_paths(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"b/two.py": "1\n2", "a.txt": "x\n", "b/one.py": "", "c.bin": b"\x00\n\n"})

        rows = list(tools.scan_tree(str(tmp_path), ctx=call.ctx))

        assert rows == [
            tools.FileRow("a.txt", ".txt", 2, 1, "text"),
            tools.FileRow("b/one.py", ".py", 0, 0, "text"),
            tools.FileRow("b/two.py", ".py", 3, 2, "text"),
            tools.FileRow("c.bin", ".bin", 3, 0, "binary"),
        ]

    def test_progress_knows_the_total_from_the_first_file_on(
        self, tools: ModuleType, tmp_path: Path, call: Call
    ) -> None:
        write(tmp_path, {"a": "", "b": "", "c": ""})

        list(tools.scan_tree(str(tmp_path), ctx=call.ctx))

        assert call.progress == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]

    def test_the_pattern_picks_files_by_name_in_every_folder(
        self, tools: ModuleType, tmp_path: Path, call: Call
    ) -> None:
        write(tmp_path, {"a.py": "", "a.md": "", "deep/er/b.py": ""})

        rows = tools.scan_tree(str(tmp_path), "*.py", ctx=call.ctx)

        assert [row.path for row in rows] == ["a.py", "deep/er/b.py"]

    def test_folders_that_are_no_source_are_left_out(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(
            tmp_path,
            {
                ".git/config": "",
                "src/__pycache__/a.pyc": b"\0",
                "node_modules/m/index.js": "",
                "my-env/pyvenv.cfg": "",
                "my-env/lib/a.py": "",
                "cache/CACHEDIR.TAG": "",
                "cache/a.py": "",
                "src/a.py": "",
                ".github/ci.yml": "",
            },
        )

        rows = tools.scan_tree(str(tmp_path), ctx=call.ctx)

        assert [row.path for row in rows] == [".github/ci.yml", "src/a.py"]

    def test_a_marked_folder_that_is_asked_for_is_scanned(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"CACHEDIR.TAG": "", "a.py": ""})

        rows = tools.scan_tree(str(tmp_path), "*.py", ctx=call.ctx)

        assert [row.path for row in rows] == ["a.py"]

    def test_symbolic_links_are_not_followed(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"src/a.py": ""})
        (tmp_path / "src" / "loop").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "self").symlink_to(tmp_path / "self")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        (tmp_path / "twice.py").symlink_to(tmp_path / "src" / "a.py")

        rows = tools.scan_tree(str(tmp_path), ctx=call.ctx)

        assert [row.path for row in rows] == ["src/a.py"]

    def test_a_file_that_cannot_be_read_is_a_row_and_no_end(
        self, tools: ModuleType, tmp_path: Path, call: Call
    ) -> None:
        write(tmp_path, {"a": "x", "b": "gone\n", "c": "y\n"})
        rows = tools.scan_tree(str(tmp_path), ctx=call.ctx)
        next(rows)
        (tmp_path / "b").unlink()

        assert list(rows) == [
            tools.FileRow("b", "", 5, 0, "unreadable"),
            tools.FileRow("c", "", 2, 1, "text"),
        ]

    def test_a_name_that_is_no_utf8_is_shown_escaped(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        (tmp_path / "a\udcff.py").write_text("x\n")

        (row,) = tools.scan_tree(str(tmp_path), ctx=call.ctx)

        assert (row.path, row.lines) == ("a\\xff.py", 1)

    def test_a_cancelled_scan_ends_after_the_row_it_is_at(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"a": "", "b": "", "c": ""})
        rows = tools.scan_tree(str(tmp_path), ctx=call.ctx)
        assert next(rows).path == "a"

        call.ctx.mark_cancelled()

        assert list(rows) == []

    def test_a_scan_cancelled_within_a_file_gives_no_row_of_it(
        self, tools: ModuleType, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"large": "0123456789"})
        monkeypatch.setattr(tools, "_READ_BYTES", 1)
        # Asked for the folder, for the first block, for the second, and before the row.
        asked = PropertyMock(side_effect=[False, False, True, True])
        monkeypatch.setattr(ToolContext, "cancelled", asked)

        assert list(tools.scan_tree(str(tmp_path), ctx=call.ctx)) == []

    def test_a_folder_that_cannot_be_read_is_logged_and_no_end(
        self, tools: ModuleType, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"a/shut/x": "", "b/y": ""})
        scandir = os.scandir

        def refuse(folder: Any) -> Any:
            if str(folder).endswith("shut"):
                raise PermissionError(13, "Permission denied", str(folder))
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse)

        rows = list(tools.scan_tree(str(tmp_path), ctx=call.ctx))

        assert [row.path for row in rows] == ["b/y"]
        (line,) = call.log
        assert "skipped a folder that cannot be read" in line

    def test_a_path_that_is_missing_or_no_folder_says_so(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"file.py": ""})

        with pytest.raises(FileNotFoundError, match=r".*nowhere' does not exist: give a folder"):
            next(tools.scan_tree(str(tmp_path / "nowhere"), ctx=call.ctx))
        with pytest.raises(FileNotFoundError, match="'' does not exist"):
            next(tools.scan_tree("", ctx=call.ctx))
        with pytest.raises(NotADirectoryError, match=r"file\.py' is not a folder"):
            next(tools.scan_tree(str(tmp_path / "file.py"), ctx=call.ctx))

    def test_an_empty_folder_has_no_rows(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        assert list(tools.scan_tree(str(tmp_path), ctx=call.ctx)) == []


class TestSummarize:
    ROWS = pd.DataFrame(
        {
            "path": ["a.py", "b.md", "c.py", "LICENSE"],
            "suffix": [".py", ".md", ".py", ""],
            "bytes": [10, 60, 30, 0],
            "lines": [1, 6, 3, 0],
        }
    )

    def test_groups_are_summed_with_the_most_bytes_first(self, tools: ModuleType) -> None:
        expected = pd.DataFrame(
            {
                "suffix": [".md", ".py", ""],
                "files": [1, 2, 1],
                "bytes": [60, 40, 0],
                "lines": [6, 4, 0],
                "largest": ["b.md", "c.py", "LICENSE"],
                "share": [0.6, 0.4, 0.0],
            }
        )

        pd.testing.assert_frame_equal(tools.summarize(self.ROWS), expected)

    def test_the_rows_given_are_left_as_they_are(self, tools: ModuleType) -> None:
        rows = self.ROWS.copy()

        tools.summarize(rows)

        pd.testing.assert_frame_equal(rows, self.ROWS)

    def test_any_other_column_can_be_grouped_by(self, tools: ModuleType) -> None:
        rows = self.ROWS.assign(owner=pd.Series(["ann", "bob", "bob"]))

        summary = tools.summarize(rows, by="owner")

        assert summary["owner"].fillna("nobody").tolist() == ["bob", "ann", "nobody"]
        assert summary["files"].tolist() == [2, 1, 1]

    def test_files_without_bytes_have_no_share(self, tools: ModuleType) -> None:
        summary = tools.summarize(self.ROWS.assign(bytes=0))

        assert summary["share"].tolist() == [0.0, 0.0, 0.0]

    def test_a_table_without_rows_gives_one_without_groups(self, tools: ModuleType) -> None:
        summary = tools.summarize(self.ROWS.iloc[:0])

        assert summary.empty
        assert list(summary.columns) == ["suffix", "files", "bytes", "lines", "largest", "share"]

    def test_a_column_that_is_missing_is_named_with_those_there_are(self, tools: ModuleType) -> None:
        with pytest.raises(ValueError, match="no column 'owner'; the columns are: path, suffix, bytes, lines"):
            tools.summarize(self.ROWS, by="owner")
        with pytest.raises(ValueError, match="no column 'path', 'bytes', 'lines', 'suffix'; the columns are: none"):
            tools.summarize(pd.DataFrame())

    @pytest.mark.parametrize("by", ["bytes", "share"])
    def test_a_column_that_the_summary_has_itself_cannot_be_grouped_by(self, tools: ModuleType, by: str) -> None:
        with pytest.raises(ValueError, match=f"cannot group by '{by}'"):
            tools.summarize(self.ROWS.assign(share=1), by=by)

    def test_a_column_of_words_cannot_be_summed(self, tools: ModuleType) -> None:
        with pytest.raises(ValueError, match="bytes and lines must hold numbers"):
            tools.summarize(self.ROWS.assign(bytes=["ten", "1", "2", "3"]))

    def test_what_a_scan_yields_can_be_summed_up(self, tools: ModuleType, tmp_path: Path, call: Call) -> None:
        write(tmp_path, {"a.py": "1\n2\n", "b.py": "3\n", "c.md": "# c\n"})

        summary = tools.summarize(pd.DataFrame(tools.scan_tree(str(tmp_path), ctx=call.ctx)))

        assert summary[["suffix", "files", "lines"]].to_numpy().tolist() == [[".py", 2, 3], [".md", 1, 1]]


class TestThroughAHub:
    @pytest.fixture
    async def bridge(self, tools: ModuleType) -> AsyncIterator[GRPCToolBridge]:
        served = [tools.search_docs, tools.scan_tree, tools.summarize, tools.calculate]
        async with (
            BridgeServer(address="127.0.0.1:0", tools=served) as server,
            GRPCToolBridge(server.address) as bridge,
        ):
            await bridge.initialize("examples")
            yield bridge

    async def test_all_four_are_offered(self, bridge: GRPCToolBridge) -> None:
        assert set(bridge.tools) == {"search_docs", "scan_tree", "summarize", "calculate"}

    async def test_a_calculation_keeps_its_type(self, bridge: GRPCToolBridge) -> None:
        assert await bridge.tools["calculate"]("2+2") == 4
        assert type(await bridge.tools["calculate"]("2 / 1")) is float
        assert await bridge.tools["calculate"]("2**4095") == 2**4095

    async def test_the_reason_of_a_failure_reaches_the_caller(self, bridge: GRPCToolBridge) -> None:
        with pytest.raises(ToolExecutionError, match="it divides by zero") as caught:
            await bridge.tools["calculate"]("1/0")

        assert caught.value.error_type == "ValueError"
        assert caught.value.details["origin"] == "tool"

    async def test_an_argument_of_the_wrong_type_is_refused(self, bridge: GRPCToolBridge) -> None:
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.tools["search_docs"]("lion", limit="few")

        assert caught.value.error_type == "ValidationError"
        assert "limit" in caught.value.details

    async def test_hits_arrive_as_plain_data(self, bridge: GRPCToolBridge) -> None:
        (hit,) = await bridge.tools["search_docs"]("textwrap.dedent", limit=1)

        assert hit["name"] == "textwrap.dedent"
        assert set(hit) == {"name", "kind", "summary", "snippet", "rank"}

    async def test_a_scan_is_streamed_and_its_rows_are_summed_up(self, bridge: GRPCToolBridge, tmp_path: Path) -> None:
        write(tmp_path, {"a.py": "1\n2\n", "b.py": "3\n", "c.md": "# c\n"})

        rows = [row async for row in bridge.tools["scan_tree"].stream(str(tmp_path))]
        summary = await bridge.tools["summarize"](pd.DataFrame(rows))

        assert [row["path"] for row in rows] == ["a.py", "b.py", "c.md"]
        assert isinstance(summary, pd.DataFrame)
        assert summary[["suffix", "files", "lines"]].to_numpy().tolist() == [[".py", 2, 3], [".md", 1, 1]]

    async def test_a_reader_that_asks_for_it_sees_the_progress(self, bridge: GRPCToolBridge, tmp_path: Path) -> None:
        write(tmp_path, {"a": "", "b": ""})
        seen: list[tuple[float, float, str]] = []
        scan = bridge.tools["scan_tree"].with_options(
            on_progress=lambda event: seen.append((event.current, event.total, event.message))
        )

        rows = [row async for row in scan.stream(str(tmp_path))]

        assert len(rows) == 2
        assert seen == [(1, 2, "a"), (2, 2, "b")]

    async def test_a_path_that_is_missing_fails_the_stream(self, bridge: GRPCToolBridge, tmp_path: Path) -> None:
        with pytest.raises(ToolExecutionError, match="does not exist") as caught:
            [row async for row in bridge.tools["scan_tree"].stream(str(tmp_path / "nowhere"))]

        assert caught.value.error_type == "FileNotFoundError"
