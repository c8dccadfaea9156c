"""The page of peers is what the last runs have shown."""

import json
import sys
from pathlib import Path

import pytest
from conformance import matrix
from conformance.checks import FAILED, OPAQUE, PASSED, UNSUPPORTED, Outcome
from conformance.make import VECTORS
from conformance.peer_list import KnownPeer, known_peers
from conformance.peers.python_peer import FORMS
from conformance.summary import kept, save, summary_of


def test_the_committed_page_is_what_the_kept_runs_give() -> None:
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page_of(kept())


def test_each_kept_run_is_of_the_committed_vectors() -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    for summary in kept():
        assert sum(summary["sections"]["transcripts"].values()) == len(vectors["transcripts"]), summary["language"]


def test_python_passes_everything_in_the_kept_run() -> None:
    python = kept()[0]
    assert python["language"] == "Python"
    assert python["forms"] == FORMS
    assert {outcome for counts in python["sections"].values() for outcome in counts} == {PASSED}


def test_each_row_of_the_page_is_a_row_of_values() -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    rows = {vector["row"] for vector in vectors["values"]}
    assert rows - set(matrix.ROWS) == {"other form", "unknown class"}
    assert set(matrix.ROWS) <= rows


def test_the_worst_outcome_of_a_row_is_shown(tmp_path: Path) -> None:
    outcomes = [
        Outcome("values", "decode_value", "decimal: 1", OPAQUE, "decimal"),
        Outcome("values", "round_trip", "decimal: 1", PASSED, "decimal"),
        Outcome("values", "decode_value", "set: 1", FAILED, "set"),
        Outcome("values", "decode_value", "null", PASSED, "null"),
        Outcome("transcripts", "link", "hello: a hub", UNSUPPORTED),
    ]
    save(summary_of("Node.js", {"forms": {"null": "null", "decimal": "OpaqueValue"}}, outcomes), tmp_path)
    page = matrix.page_of(kept(tmp_path))
    assert "| decimal | opaque, `OpaqueValue` |" in page
    assert "| set | **failed** |" in page
    assert "| null | `null` |" in page
    assert "| values: decoded, encoded, and sent back | 3 of 4 |" in page
    assert "| transcripts of links | 0 of 0, 1 not supported |" in page
    assert "| errors | not tested |" in page


def test_a_peer_is_found_by_its_file_and_started_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sdk" / "elixir" / "conformance"
    folder.mkdir(parents=True)
    given = {"language": "Elixir", "command": "mix run conformance/peer.exs", "needs": ["a-program-there-is-not"]}
    (folder / "peer.json").write_text(json.dumps(given), encoding="utf-8")
    python, elixir = known_peers(tmp_path)
    assert python.language == "Python"
    assert elixir == KnownPeer(
        "Elixir", "mix run conformance/peer.exs", tmp_path / "sdk" / "elixir", ("a-program-there-is-not",)
    )
    assert elixir.missing == ["a-program-there-is-not"]


def test_a_language_that_is_not_installed_is_skipped_and_a_peer_that_ends_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = [
        KnownPeer("Elixir", "mix", tmp_path, ("a-program-there-is-not",)),
        KnownPeer("Broken", f"{sys.executable} -c pass", tmp_path),
    ]
    monkeypatch.setattr(matrix, "known_peers", lambda: peers)
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "peers.md")
    assert matrix.main([]) == 1
    printed = capsys.readouterr()
    assert "Elixir: skipped, since a-program-there-is-not is not installed" in printed.out
    assert "Broken: the peer ended instead of answering hello" in printed.err
