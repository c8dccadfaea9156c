"""Flame graphs: how stacks are read and drawn, and the command that samples a hub and a client."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks import profiling
from benchmarks.flames import draw, read

from support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
MAIN = "main (benchmarks/server.py);BaseEventLoop._run_once (asyncio/base_events.py)"
RUN = f"{MAIN};Handle._run (asyncio/events.py)"
CORE, LINK = "Executor.run (grpc_tool_bridge/core/executor.py)", "LinkIO._read (grpc_tool_bridge/link/io.py)"
STACKS = f"""\
{RUN};{LINK};{CORE} 60
{RUN};{LINK} 20
{RUN};odd<name> & co (somewhere/else.py) 10
{MAIN} 10
{MAIN};EpollSelector.select (selectors.py) 500
Thread.run (threading.py) 400
"""


def boxes(svg: str) -> dict[str, tuple[str, float, float, float]]:
    """Returns the class, the left end, the row and the width of each function, by what it says when pointed at."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert box is not None
        x, y, width = (float(box.attrib[name]) for name in ("x", "y", "width"))
        found[str(title.text)] = (box.attrib["class"], x, y, width)
    return found


def test_a_function_is_as_wide_as_its_part_and_stands_below_its_caller() -> None:
    found = boxes(draw(read(STACKS), "A title", []))
    everything, link, core = found["the event loop: 100.0%"], found[f"{LINK}: 80.0%"], found[f"{CORE}: 60.0%"]
    assert [round(box[3] / everything[3], 2) for box in (everything, link, core)] == [1.0, 0.8, 0.6]
    assert everything[2] < link[2] < core[2]
    assert link[1] <= core[1]
    assert core[1] + core[3] <= link[1] + link[3] + 0.1
    assert len({box[0] for box in (everything, link, core)}) == 3
    beside = found["odd<name> & co (somewhere/else.py): 10.0%"]
    assert beside[1] == pytest.approx(link[1] + link[3], abs=0.2)
    assert beside[2] == link[2]


def test_neither_waiting_nor_other_threads_count() -> None:
    assert read(STACKS).samples == 100


def test_names_are_escaped_and_the_legend_has_what_is_shown() -> None:
    svg = draw(read(STACKS), "<A> title", ["a note"])
    texts = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert {"<A> title", "a note", "core", "link", "other libraries"} <= set(texts)
    assert "gRPC" not in texts
    assert "odd<name> & co (somewhere/else.py): 10.0%" in boxes(svg)


def test_what_takes_next_to_no_time_is_left_out() -> None:
    svg = draw(read(f"{RUN};{LINK} 999\n{RUN};{CORE} 1\n"), "A title", [])
    assert list(boxes(svg)) == ["the event loop: 100.0%", f"{LINK}: 99.9%"]


@pytest.mark.parametrize(
    ("stacks", "complaint"),
    [("no number", "no line of a profile"), ("", "nothing ran"), ("Thread.run (threading.py) 4", "nothing ran")],
)
def test_what_is_no_profile_of_a_loop_is_refused(stacks: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read(stacks)


@pytest.mark.platform
@pytest.mark.xdist_group("benchmarks")
def test_the_command_draws_the_hub_and_the_client(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.profiling", "--seconds", "1", "--out", str(tmp_path / "new")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    if done.returncode and re.search("permi", done.stderr, re.IGNORECASE):
        pytest.skip(f"this machine lets no process look into another one: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "new" / f"flame-{end}.svg") for end in ("hub", "client")]
    hub, client = ((tmp_path / "new" / f"flame-{end}.svg").read_text(encoding="utf-8") for end in ("hub", "client"))
    assert "DirectCalls" in hub
    assert "AsyncGRPCProxyTool" in client
    assert max(len(hub), len(client)) < 100_000


def test_a_profiler_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profiling, "where", lambda _: None)
    assert profiling.main([]) == 1
    assert "py-spy is not installed; make install installs it" in capsys.readouterr().err


def test_a_profiler_that_may_not_look_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'Permission denied: try running again'\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(profiling, "where", lambda _: str(program))
    assert profiling.main(["--seconds", "1", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert re.search(r"nothing was drawn: py-spy could not look into the (hub|client): Permission denied", told)
    assert not list(tmp_path.glob("*.svg"))
