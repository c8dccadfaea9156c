"""The load test fails where a request or a user did; nothing is run."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "load.py"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("load_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "load_script", module)
    spec.loader.exec_module(module)
    return module


def entry(name: str, times: dict[str, int], *, failures: int = 0, start: float = 0.0, end: float = 10.0) -> Any:
    return {
        "name": name,
        "method": "GET",
        "num_requests": sum(times.values()),
        "num_failures": failures,
        "response_times": times,
        "start_time": start,
        "last_request_timestamp": end,
    }


def written(directory: Path, *entries: Any) -> None:
    (directory / "statistics.json").write_text(json.dumps(entries), encoding="utf-8")


def test_rows_are_by_route_with_all_together_last(load: Any, tmp_path: Path) -> None:
    written(tmp_path, entry("/b", {"10": 30}, start=5.0), entry("/a", {"1": 98, "20": 1, "300.0": 1}))
    rows = load.read_rows(tmp_path / "statistics.json")
    assert [(row.route, row.requests, row.rate) for row in rows] == [("/a", 100, 10), ("/b", 30, 3), ("all", 130, 13)]
    assert [rows[0].percentile(percent) for percent in (50, 98, 99, 100)] == [1, 1, 20, 300]


@pytest.mark.parametrize(("failures", "locust_code", "code"), [(0, 0, 0), (1, 1, 1), (1, 0, 1), (0, 1, 1)])
def test_a_failed_request_or_user_fails_it(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, locust_code: int, code: int
) -> None:
    monkeypatch.setattr(load, "_start", lambda *words: {"address": "a:1", "http_address": "a:2"})
    monkeypatch.setattr(load, "_run_locust", lambda *words: locust_code)
    written(tmp_path, entry("/a", {"1": 9}, failures=failures))
    assert load.main(["--report", str(tmp_path)]) == code


def test_a_load_test_without_requests_fails(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_start", lambda *words: {"address": "a:1", "http_address": "a:2"})
    monkeypatch.setattr(load, "_run_locust", lambda *words: 0)
    assert load.main(["--report", str(tmp_path)]) == 1
    written(tmp_path)
    assert load.main(["--report", str(tmp_path)]) == 1
