"""The command with standard streams, arguments and signals as they should not be."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.test_cli import PATIENCE, PROGRAM, popen, read_line, serving

SOURCE = """
import ctypes, logging, os, subprocess, sys
from grpc_tool_bridge import ToolContext, tool

def say(prefix):
    print(prefix, "by Python", flush=True)
    os.write(1, f"{prefix} by the system\\n".encode())
    subprocess.run(["echo", prefix, "by a child"])
    ctypes.CDLL(None).puts(f"{prefix} by C".encode())
    ctypes.CDLL(None).fflush(None)

@tool
def here() -> int:
    say("here")
    return 1

@tool(executor="process")
def there() -> int:
    say("there")
    logging.getLogger("my.library").error("it is\\nlogged")
    return 2

@tool
def big() -> list:
    return [2**53, 10**5000, float("nan"), float("-inf"), {"a": -(2**60)}, "\u2028"]

@tool
def fail() -> None:
    raise RuntimeError("no")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    source = tmp_path_factory.mktemp("tools") / "noisy.py"
    source.write_text(SOURCE)
    with serving("--tools", str(source), "--session-idle-timeout", "1000") as (facts, _):
        yield facts


def shell(line: str, hub: dict[str, Any], **environment: str) -> tuple[int, str, str]:
    """Runs a line of shell, in which PROGRAM is the command and HUB its address."""
    line = line.replace("PROGRAM", shlex.join(PROGRAM)).replace("HUB", f"--address {hub['address']}")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE * 2,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def is_one_line(err: str) -> bool:
    return err.count("\n") == 1 and err.startswith("error: ") and "report it" not in err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("PROGRAM call here HUB --json >&-", None),
        ("PROGRAM call here HUB >&-", "error: stdout is closed"),
        ("PROGRAM --version >&-", "error: stdout is closed"),
        ("PROGRAM tools HUB >/dev/full", "error: cannot write to stdout: No space left on device"),
        ("PROGRAM worker --help >/dev/full", "error: cannot write to stdout: No space left on device"),
        ("PROGRAM serve --address 127.0.0.1:0 >/dev/full", "error: cannot write to stdout: No space left"),
        ("PROGRAM doctor --json HUB >/dev/full", None),
    ],
)
def test_a_stdout_that_takes_nothing_is_one_line_and_exit_1(hub: dict[str, Any], line: str, text: str | None) -> None:
    code, out, err = shell(line, hub)
    assert (code, out) == (1, "")
    if text is None:
        assert json.loads(err)["error"]["exit_code"] == 1
    else:
        assert is_one_line(err)
        assert err.startswith(text)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("PROGRAM vars set x - --session s HUB <&-", "which cannot be read: it is closed"),
        ("PROGRAM vars set x - --text --session s HUB <&-", "which cannot be read: it is closed"),
        ("printf '\\xff' | PROGRAM vars set x - --text --session s HUB", "which cannot be read: it is not UTF-8"),
        ("PROGRAM vars set x $'\\xff' --session s HUB", r"the argument \xff is not valid UTF-8"),
        ("PROGRAM call here --session $'a\\xff' HUB", r"the argument a\xff is not valid UTF-8"),
        ("PROGRAM call here HUB --token-file $'/no/\\xff'", r"cannot read /no/\xff: No such file"),
        ("PROGRAM $'\\xff'", r"no such command '\udcff'"),
    ],
)
def test_input_that_cannot_be_read_is_one_line_and_exit_2(hub: dict[str, Any], line: str, text: str) -> None:
    code, out, err = shell(line, hub)
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert text in err


@pytest.mark.parametrize("line", ["PROGRAM --help", "PROGRAM serve --help", "PROGRAM tools HUB", "PROGRAM --version"])
def test_a_pipe_without_a_reader_ends_any_command_quietly(hub: dict[str, Any], line: str, tmp_path: Path) -> None:
    # The reader has gone before anything is written.
    pipe = shlex.quote(str(tmp_path / "pipe"))
    code, _, err = shell(f"mkfifo {pipe}; exec 4<>{pipe} 5>{pipe}; exec 4<&-; {line} >&5", hub)
    assert (code, err) == (141, "")


def test_what_cannot_be_told_on_stderr_changes_no_exit_code_and_no_output(hub: dict[str, Any]) -> None:
    assert shell("PROGRAM call --json HUB 2>/dev/full", hub) == (2, "", "")
    assert shell("PROGRAM call --json HUB 2>&-", hub) == (2, "", "")
    assert shell("PROGRAM call here --json HUB 2>&- <&-", hub) == (0, "1\n", "")


@pytest.mark.parametrize("command", ["", "serve", "worker", "vars", "call"])
def test_help_can_be_read_on_an_ascii_terminal_and_a_narrow_one(hub: dict[str, Any], command: str) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "COLUMNS": "40", "TERM": "dumb"}
    code, out, err = shell(f"PROGRAM {command} --help", hub, **plain)
    assert (code, err, out.isascii()) == (0, "", True)
    assert "\\u" not in out


def test_only_our_own_lines_are_on_the_stdout_of_a_hub_and_log_lines_keep_level_and_logger(tmp_path: Path) -> None:
    source = tmp_path / "noisy.py"
    source.write_text(SOURCE)
    with serving("--tools", str(source)) as (facts, process):
        for name, result in (("here", "1\n"), ("there", "2\n")):
            assert shell(f"PROGRAM call {name} --json HUB", facts)[:2] == (0, result)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    for prefix in ("here", "there"):
        for how in ("by Python", "by the system", "by a child", "by C"):
            assert f"{prefix} {how}\n" in err
    assert "ERROR my.library: it is\\nlogged\n" in err


def test_json_has_nothing_that_parsers_change(hub: dict[str, Any]) -> None:
    _, out, _ = shell("PROGRAM call big --json HUB", hub)
    tagged = {"$type": "int", "value": str(2**53)}
    first, second, *rest = json.loads(out)
    assert first == tagged
    assert second["value"] == "1" + "0" * 5000
    assert rest == [
        {"$type": "float", "value": "nan"},
        {"$type": "float", "value": "-inf"},
        {"a": {"$type": "int", "value": str(-(2**60))}},
        "\u2028",
    ]
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script = "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8'))))"
    read = subprocess.run(["node", "-e", script], input=out, capture_output=True, text=True, check=True)
    assert json.loads(read.stdout) == json.loads(out)


@pytest.mark.parametrize(
    ("line", "kind", "code"),
    [
        ("PROGRAM call fail --json HUB", "RuntimeError", 1),
        ("PROGRAM call --json no_such_tool HUB", "ToolNotFound", 1),
        ("PROGRAM call --json", "ValidationError", 2),
        ("PROGRAM vars get x --session never --json HUB", "SessionNotFound", 1),
        ("PROGRAM tools --json --address 127.0.0.1:1 --connect-timeout 0", "ToolCommunicationError", 1),
        ("PROGRAM serve --json --tools no_such_module", "ValidationError", 2),
    ],
)
def test_with_json_an_error_is_one_line_of_json(hub: dict[str, Any], line: str, kind: str, code: int) -> None:
    ended, out, err = shell(line, hub)
    assert (ended, out) == (code, "")
    error = json.loads(err)["error"]
    assert (error["type"], error["exit_code"]) == (kind, code)
    assert isinstance(error["message"], str)
    assert isinstance(error["details"], dict)


IMPORTING = """
import importlib.abc, os, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "{0}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["grpc-tool-bridge", "{1}", "--address", "127.0.0.1:1"]
from grpc_tool_bridge.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grpc_tool_bridge.cli.app", "tools"),
        ("grpc", "tools"),
        ("grpc_tool_bridge.client.bridge", "tools"),
        ("typer", "--help"),
        ("pydantic", "serve"),
        ("grpc_tool_bridge.server", "serve"),
    ],
)
def test_ctrl_c_while_the_program_is_loaded_is_quiet_and_exit_130(name: str, words: str) -> None:
    done = subprocess.run(
        [PROGRAM[0], "-c", IMPORTING.format(name, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_a_hub_imports_its_tools_is_one_line_and_exit_130(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = tmp_path / "slow.py"
    source.write_text(f"open({str(pipe)!r}).read()\n")
    process = popen("serve", "--address", "127.0.0.1:0", "--tools", str(source))
    with pipe.open("w"):  # waits until the import reads
        process.send_signal(signal.SIGINT)
        assert read_line(process, "stderr") == "error: interrupted\n"
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 130
