"""A peer's process: whatever it does, the runner says what is wrong."""

import sys
from pathlib import Path

import pytest
from conformance.checks import PEER_FAILED
from conformance.peer_process import MAX_FAILURES, LastingPeer, PeerFailedError, PeerProcess

from support.patience import PATIENCE


def peer(tmp_path: Path, program: str, timeout: float = PATIENCE) -> PeerProcess:
    path = tmp_path / "peer.py"
    path.write_text(program, encoding="utf-8")
    return PeerProcess(f"{sys.executable} {path}", timeout=timeout)


ANSWERS = """\
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], "ok": {"do": request["do"], "text": request.get("text")}}), flush=True)
"""


def test_requests_are_answered_in_order(tmp_path: Path) -> None:
    with peer(tmp_path, ANSWERS) as process:
        assert process.ask("a", text="é")["ok"] == {"do": "a", "text": "é"}
        assert process.ask("b")["ok"] == {"do": "b", "text": None}


def test_a_request_of_megabytes_is_answered(tmp_path: Path) -> None:
    with peer(tmp_path, ANSWERS) as process:
        assert len(process.ask("a", text="x" * 5_000_000)["ok"]["text"]) == 5_000_000


def test_a_peer_that_ends_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with peer(tmp_path, "import sys; sys.exit(3)") as process, pytest.raises(PeerFailedError, match="exit code 3"):
        process.ask("hello")


def test_a_peer_that_does_not_answer_fails_in_time(tmp_path: Path) -> None:
    silent = "import sys; sys.stdin.read()"
    with peer(tmp_path, silent, timeout=0.2) as process, pytest.raises(PeerFailedError, match="did not answer hello"):
        process.ask("hello")


@pytest.mark.parametrize("line", ["Hello!", "[]", '{"id": 7, "ok": {}}', '{"id": 1}', '{"id": 1, "ok": 1, "error": 2}'])
def test_a_line_that_is_no_answer_is_shown(tmp_path: Path, line: str) -> None:
    program = f"import sys; sys.stdin.readline(); print({line!r}, flush=True); sys.stdin.read()"
    with peer(tmp_path, program) as process, pytest.raises(PeerFailedError, match="which is not an answer to 1"):
        process.ask("hello")


def test_a_command_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(PeerFailedError, match="cannot be started"):
        PeerProcess(str(tmp_path / "nothing"))


CRASHES = """\
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "crash":
        sys.exit(1)
    print(json.dumps({"id": request["id"], "ok": {"do": request["do"]}}), flush=True)
"""


def lasting(tmp_path: Path) -> LastingPeer:
    path = tmp_path / "peer.py"
    path.write_text(CRASHES, encoding="utf-8")
    return LastingPeer(f"{sys.executable} {path}", timeout=PATIENCE)


def test_a_peer_that_crashes_is_started_again(tmp_path: Path) -> None:
    with lasting(tmp_path) as process:
        assert process.ask("hello")["ok"] == {"do": "hello"}
        assert process.ask("crash")["error"]["type"] == PEER_FAILED
        assert process.ask("a")["ok"] == {"do": "a"}


def test_a_peer_that_crashes_often_is_given_up(tmp_path: Path) -> None:
    with lasting(tmp_path) as process:
        for _ in range(MAX_FAILURES - 1):
            assert process.ask("crash")["error"]["type"] == PEER_FAILED
        with pytest.raises(PeerFailedError, match="exit code 1"):
            process.ask("crash")
