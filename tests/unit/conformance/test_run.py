"""The commands: what they print, and their exit codes."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from conformance.run import main

PYTHON = f"{sys.executable} -m conformance.peers.python_peer"


def test_a_peer_that_passes_is_shown_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peer", PYTHON, "--only", "errors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Python 3.")
    assert lines[3].split() == ["errors", "decode_error", "36", "0", "0", "0"]


def test_a_name_chooses_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peer", PYTHON, "--only", "transcripts", "--name", "stream:", "--json"]) == 0
    names = {one["name"] for one in json.loads(capsys.readouterr().out)["outcomes"]}
    assert names
    assert all(name.startswith("stream:") for name in names)


def test_generated_values_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peer", PYTHON, "--only", "properties", "--examples", "5"]) == 0
    assert "generated" in capsys.readouterr().out


def test_a_failure_names_its_vector_and_gives_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "peer.py"
    program.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    meaning = {'kind': 'null'}\n"
        "    print(json.dumps({'id': request['id'], 'ok': {'meaning': meaning, 'any': 'CgA='}}), flush=True)\n",
        encoding="utf-8",
    )
    command = shlex.join([sys.executable, str(program)])
    assert main(["--peer", command, "--only", "values"]) == 1
    out = capsys.readouterr().out
    assert "FAILED values encode_value: null: null" in out
    assert "more" in out.splitlines()[-1]
    assert main(["--peer", command, "--only", "properties", "--examples", "5"]) == 1
    assert "FAILED properties generated: every value" in capsys.readouterr().out


def test_a_peer_that_cannot_be_tested_gives_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peer", f"{sys.executable} -c pass"]) == 2
    assert capsys.readouterr().err.startswith("conformance: the peer ended instead of answering hello")
