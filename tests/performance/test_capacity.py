"""The command that finds where one hub ends: it fills a hub for a moment, and its loads check the answers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.capacity import KINDS, Measured
from benchmarks.load_process import SOURCES
from benchmarks.loads import LOADS, Calls, Streams
from benchmarks.raw_link import RawLink
from benchmarks.work import WrongAnswerError

from grpc_tool_bridge import BridgeServer, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = "# A page\n\n<!-- capacity -->\nan old table\n<!-- end -->\n\nThe end.\n"
pytestmark = pytest.mark.xdist_group("benchmarks")


def capacity(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.capacity", "--seconds", "0.2", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )


def test_each_load_is_measured_and_stands_in_the_report_and_on_the_page(tmp_path: Path) -> None:
    names = ("worker-calls", "http-calls")
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    only = [part for name in names for part in ("--only", name)]
    done = capacity(*only, "--clients", 1, "--json", tmp_path / "report.json", "--write", page)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert sorted(load["kind"] for load in report["loads"]) == sorted(names)
    for load in report["loads"]:
        assert all(load[key] > 0 for key in ("per_second", "full", "loop_us", "cpu_us", "clients"))
    text = page.read_text(encoding="utf-8")
    assert "an old table" not in text
    assert text.startswith("# A page\n\n<!-- capacity -->\n| what one hub does |")
    assert text.endswith("\n<!-- end -->\n\nThe end.\n")
    for kind in KINDS:
        assert (kind.title in text) == (kind.name in names)
    assert report["machine"]["cpu"] in text


def test_every_load_has_a_process_that_makes_it() -> None:
    assert {kind.load for kind in KINDS} == {*LOADS, *SOURCES}


def test_a_page_without_marks_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    done = capacity("--write", page)
    assert done.returncode == 2
    assert "has no lines <!-- capacity --> and <!-- end -->" in " ".join(done.stderr.split())
    assert page.read_text(encoding="utf-8") == "nothing"


def test_a_load_that_fails_is_said_and_fails(tmp_path: Path) -> None:
    # The client processes of the other loads do not import it.
    (tmp_path / "uvicorn.py").write_text("raise ImportError('broken')", encoding="utf-8")
    done = capacity("--only", "http-calls", "--only", "sessions", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "http-calls: a process of the benchmarks ended; see its error above" in done.stderr
    assert ": broken\n" in done.stderr
    assert "sessions" in done.stdout


def test_the_rate_of_a_full_loop_is_that_of_its_own_time() -> None:
    one = Measured(kind="calls", per_second=10_000, full=1.0, loop_us=20.0, cpu_us=25.0, clients=0.1)
    assert one.ceiling == 50_000


@pytest.mark.parametrize("name", LOADS)
async def test_a_load_counts_what_a_hub_has_done(name: str) -> None:
    from benchmarks.work import Gate, make_tools

    load = LOADS[name]()
    async with (
        asyncio.timeout(PATIENCE),
        BridgeServer(tools=make_tools(1, Gate())) as hub,
        RawLink.open(hub.address) as link,
    ):
        await link.ask("InitializeSession", pb.InitializeSessionRequest(session_id="s"))
        await load.begin(link, "s")
        while load.count < 200:
            await link.flush()
            for envelope in await link.receive():
                load.take(link, envelope)


@pytest.mark.parametrize("name", LOADS)
async def test_a_load_fails_where_a_hub_refuses(name: str) -> None:
    load = LOADS[name]()
    async with (
        asyncio.timeout(PATIENCE),
        BridgeServer(tools=[]) as hub,
        RawLink.open(hub.address) as link,
    ):
        # There is no such session, or it is no name of one.
        await load.begin(link, "\n")
        await link.flush()
        refused, *_ = await link.receive()
        with pytest.raises(WrongAnswerError):
            load.take(link, refused)


def test_a_wrong_answer_is_no_answer() -> None:
    answer = pb.ToolCallResponse(success=True, result=serialize_value(6))
    with pytest.raises(WrongAnswerError, match="add answered"):
        Calls().take(RawLink(None), pb.Envelope(id=1, reply=answer.SerializeToString()))


def test_a_stream_that_ends_early_is_no_answer() -> None:
    load = Streams("count", 2, chunks=2, width=1)
    link = RawLink(None)
    asyncio.run(load.begin(link, "s"))
    chunk = pb.ToolStreamChunk(data=serialize_value(0))
    load.take(link, pb.Envelope(id=1, chunk=chunk.SerializeToString()))
    with pytest.raises(WrongAnswerError, match="1 chunks instead of 2"):
        load.take(link, pb.Envelope(id=1, end=pb.LinkStatus()))
