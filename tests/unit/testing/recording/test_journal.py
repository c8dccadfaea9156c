"""The file of a recording: it never disturbs the hub, and never replaces what is not a recording."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.testing import Recording
from grpc_tool_bridge.testing.recording import journal as journals
from grpc_tool_bridge.testing.recording.entries import OPENED, Entry, SessionLog
from grpc_tool_bridge.testing.recording.journal import Journal
from grpc_tool_bridge.values.redaction import TooManySecretsError

SESSION = SessionLog(1, "s")


def entry(text: str = "") -> Entry:
    return Entry(0, OPENED, SESSION, None, None, text)


def line_of(given: Entry) -> dict[str, Any]:
    return {"at": given.at, "session": "session-1", "opened": {"text": given.data}}


def test_entries_become_lines_after_one_that_says_the_version(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.jsonl")
    journal.put(entry("a"), line_of)
    journal.close()
    journal.close()

    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert lines == [
        {"format": "grpc-tool-bridge recording", "version": 1},
        {"session": "session-1", "opened": {"text": "a"}},
    ]
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_recording_is_replaced_with_its_large_values_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = Journal(path)
    first.run(lambda: first.store("0" * 32, b"{}"))
    first.close()
    assert (tmp_path / "r.jsonl.values" / f"{'0' * 32}.json").exists()

    # A hub that does not even start replaces nothing.
    Journal(path).close()
    assert len(list((tmp_path / "r.jsonl.values").iterdir())) == 1

    second = Journal(path)
    second.put(entry("second"), line_of)
    second.close()
    assert list((tmp_path / "r.jsonl.values").iterdir()) == []
    assert "second" in path.read_text()

    other = tmp_path / "notes.txt"
    for text in ("my notes", '{"format": "other"}', "[]"):
        other.write_text(text)
        with pytest.raises(FileExistsError, match="is there and is not a recording, so it is not replaced"):
            Journal(other)
        assert other.read_text() == text


def test_a_run_in_which_nothing_happens_is_a_recording_too(tmp_path: Path) -> None:
    Journal(tmp_path / "r.jsonl").close()

    assert Recording(tmp_path / "r.jsonl").sessions == []


def test_two_hubs_do_not_record_in_one_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.jsonl")
    journal.put(entry("first"), line_of)

    with pytest.raises(FileExistsError, match="another hub records in this file"):
        Journal(tmp_path / "r.jsonl")
    journal.close()
    assert "first" in (tmp_path / "r.jsonl").read_text()


def full_disk(_: Entry) -> dict[str, Any]:
    raise OSError(28, "No space left on device")


def too_many(_: Entry) -> dict[str, Any]:
    raise TooManySecretsError("more than 1,000 different secrets were recorded")


@pytest.mark.parametrize(
    ("bad", "why"),
    [(full_disk, "No space left on device"), (too_many, "more than 1,000 different secrets")],
)
def test_a_failure_ends_the_recording_with_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: Any, why: str
) -> None:
    journal = Journal(tmp_path / "r.jsonl")
    journal.put(entry("before"), line_of)
    for _ in range(3):
        journal.put(entry(), bad)
    journal.close()
    journal.put(entry("after"), line_of)

    assert journal.failed
    (record,) = caplog.records
    assert f"has ended early: {why}" in record.message
    assert "before" in (tmp_path / "r.jsonl").read_text()


def test_a_recording_ends_at_its_largest_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "r.jsonl", max_bytes=1_000)
    for _ in range(10):
        journal.put(entry("x" * 400), line_of)
    journal.close()

    assert "it would be larger than 1,000 bytes" in caplog.text
    assert (tmp_path / "r.jsonl").stat().st_size <= 1_000


def test_a_disk_that_is_too_slow_ends_it_rather_than_fill_the_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_WAITING_BYTES", 1_000)
    journal = Journal(tmp_path / "r.jsonl")
    journal.put(entry("x" * 2_000), line_of)
    journal.close()

    assert "the disk is too slow: 2,000 bytes wait to be written" in caplog.text


def test_an_event_that_cannot_be_written_is_logged_and_the_rest_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Entry) -> dict[str, Any]:
        raise RuntimeError("a fault")

    journal = Journal(tmp_path / "r.jsonl")
    journal.put(entry("one"), line_of)
    journal.put(entry(), fail)
    journal.put(entry("two"), line_of)
    with caplog.at_level(logging.ERROR):
        journal.close()

    assert "lacks an event that could not be written" in caplog.text
    assert [word in (tmp_path / "r.jsonl").read_text() for word in ("one", "two")] == [True, True]


def test_a_folder_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "nowhere" / "r.jsonl")
