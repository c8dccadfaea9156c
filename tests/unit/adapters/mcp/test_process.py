"""Programs with a guard, which is a real process in these tests."""

import json
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from grpc_tool_bridge.adapters.mcp.process import start_process
from grpc_tool_bridge.errors import ValidationError
from support.waiting import is_gone, soon, until

ENV = {"PATH": os.environ["PATH"]}

# Prints its id and those of a child and of a child in another session, of which nothing ends by itself.
FAMILY = (
    "import json, os, signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "code = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)'\n"
    "run = lambda **how: subprocess.Popen([sys.executable, '-c', code], **how).pid\n"
    "print(json.dumps([os.getpid(), run(), run(start_new_session=True)]), flush=True)\n"
    "time.sleep(1000)\n"
)


async def test_it_is_ended_with_all_that_it_has_started() -> None:
    process = await start_process("x", [sys.executable, "-c", FAMILY], env=ENV, cwd=None)
    pids = json.loads(await soon(process.stdout.readline()))
    assert not any(map(is_gone, pids))
    await soon(process.aclose())
    assert all(map(is_gone, [*pids, process.pid]))


async def test_it_may_end_by_itself_when_its_input_ends(tmp_path: Path) -> None:
    file = tmp_path / "end"
    script = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('ended')"
    process = await start_process("x", [sys.executable, "-c", script, str(file)], env=ENV, cwd=None)
    await soon(process.aclose())
    assert file.read_text() == "ended"


async def test_what_it_has_started_ends_with_it() -> None:
    script = f"{FAMILY.rpartition('time.sleep')[0]}sys.exit(4)\n"
    process = await start_process("x", [sys.executable, "-c", script], env=ENV, cwd=None)
    pids = json.loads(await soon(process.stdout.readline()))
    assert await soon(process.ending()) == "it ended with exit code 4"
    await until(lambda: all(map(is_gone, pids)), "for its children to end")
    await process.aclose()


async def test_it_ends_with_its_guard() -> None:
    process = await start_process("x", [sys.executable, "-c", FAMILY], env=ENV, cwd=None)
    pids = json.loads(await soon(process.stdout.readline()))
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: is_gone(pids[0]), "for the program to end")
    await process.aclose()
    for pid in pids[1:]:
        os.kill(pid, signal.SIGKILL)


async def test_its_end_is_told_with_its_last_lines(caplog: pytest.LogCaptureFixture) -> None:
    script = "import sys, os; sys.stderr.write('one\\ntwo\\nthree'); sys.stderr.flush(); os.kill(os.getpid(), 9)"
    process = await start_process("x", [sys.executable, "-c", script], env=ENV, cwd=None)
    assert await soon(process.ending()) == "it was ended by signal 9; its last lines were: one | two | three"
    await process.aclose()


async def test_it_inherits_nothing_but_its_streams() -> None:
    script = "import os; print(sorted(int(name) for name in os.listdir('/proc/self/fd'))[:-1], flush=True)"
    process = await start_process("x", [sys.executable, "-c", script], env=ENV, cwd=None)
    assert json.loads(await soon(process.stdout.readline())) == [0, 1, 2]
    await process.aclose()


async def test_a_variable_that_it_misses_is_named_if_it_is_set_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_MINE", "s3cret")
    script = "import sys; sys.exit('KEY_OF_MINE and OTHER_KEY are not set')"
    told = []
    for env in (ENV, {**ENV, "KEY_OF_MINE": "s3cret"}):
        process = await start_process("x", [sys.executable, "-c", script], env=env, cwd=None)
        told.append(await soon(process.ending()))
        await process.aclose()
    hint = "(it does not get KEY_OF_MINE of the environment; give it as env in --mcp-config)"
    assert [hint in text for text in told] == [True, False]
    assert "s3cret" not in told[0]


async def test_what_cannot_be_run_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "server"
    file.write_text("#!/bin/sh\n")
    for command, text in (
        ("no-such-program", "'no-such-program' was not found in PATH"),
        ("uvx server", "its arguments are separate"),
        (str(tmp_path / "nothing"), "there is no such file"),
        (str(file), "it cannot be executed; chmod"),
    ):
        with pytest.raises(ValidationError, match=f"MCP server x: .*{text}"):
            await start_process("x", [command], env=ENV, cwd=None)
    with pytest.raises(ValidationError, match="there is no directory"):
        await start_process("x", ["sh"], env=ENV, cwd=str(file))
    # Only the system knows what is wrong with this one.
    file.write_text("#!/no/such/interpreter\n")
    file.chmod(0o700)
    process = await start_process("x", [str(file)], env=ENV, cwd=None)
    assert "exit code 127" in await soon(process.ending())
    await process.aclose()


async def test_one_that_writes_without_end_is_cut_and_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = "import sys\nwhile True: sys.stderr.write('x' * 9999 + chr(10))"
    process = await start_process("x", [sys.executable, "-c", script], env=ENV, cwd=None)
    await until(lambda: "lines of its log were dropped" in caplog.text, "for lines to be dropped")
    assert max(map(len, caplog.messages)) < 2_100
    await soon(process.aclose())
    assert is_gone(process.pid)
