"""The simulation of many hubs: its sums, its queues, and what it says of wrong parameters."""

import importlib.util
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "simulate_scale.py"
MEASURED = ROOT / "benchmarks" / "hubs_together.json"


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("simulate_scale_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "simulate_scale_script", module)
    spec.loader.exec_module(module)
    return module


def test_one_hub_with_its_own_functions_does_what_its_event_loop_does(scale: Any) -> None:
    plan = scale.Plan(hubs=1, workers=0, away=0, writes=0, renewals=0)
    first = scale.walls(plan, scale.Costs(call_us=10, idle_us=0), scale.place(plan))[0]
    assert first.what == "the event loop of the busiest hub"
    assert first.calls == pytest.approx(100_000)


def test_hubs_that_share_nothing_do_as_much_as_the_busiest_one_lets_them(scale: Any) -> None:
    plan = scale.Plan(hubs=10, workers=0, sessions=1_000_000, away=0, writes=0, renewals=0)
    placed = scale.place(plan)
    assert sum(placed.sessions) == 1_000_000
    first = scale.walls(plan, scale.Costs(call_us=10, idle_us=0), placed)[0]
    assert first.calls == pytest.approx(1_000_000 / placed.busiest)


def test_a_request_that_enters_elsewhere_costs_both_hubs(scale: Any) -> None:
    costs = scale.Costs(call_us=10, forward_us=7, forwarded_us=3)
    plan = scale.Plan(hubs=2, workers=0, away=0.5, writes=0)
    assert scale.call_loads(plan, costs, 1.0) == pytest.approx((11.5, 3.5))


def test_a_write_that_enters_elsewhere_is_passed_on_like_a_call(scale: Any) -> None:
    costs = scale.Costs(call_us=10, forward_us=7, forwarded_us=3, write_us=0, record_us=0)
    plan = scale.Plan(hubs=2, workers=0, away=1.0, writes=1.0, watchers=0)
    assert scale.call_loads(plan, costs, 1.0) == pytest.approx((16.0, 14.0))


def test_a_mix_makes_dearer_what_shares_messages_and_nothing_else(scale: Any) -> None:
    costs = scale.in_a_mix(scale.Costs(call_us=10, hop_us=100, renewal_us=5, mixed=1.5))
    assert (costs.call_us, costs.hop_us, costs.renewal_us, costs.mixed) == (15, 100, 5, 1)


def test_where_workers_are_may_be_said_instead_of_placed(scale: Any) -> None:
    assert scale.place(scale.Plan(hubs=3, near=0.25)).near == [0.25] * 3


def test_each_further_hub_costs_every_hub_its_renewals(scale: Any) -> None:
    costs = scale.Costs(idle_us=1_000, renewal_us=100)
    assert scale.standing_load(scale.Plan(hubs=1, renewals=2), costs) == pytest.approx(0.001)
    assert scale.standing_load(scale.Plan(hubs=11, renewals=2), costs) == pytest.approx(0.003)


def test_a_tool_of_another_hub_costs_both_hubs(scale: Any) -> None:
    costs = scale.Costs(worker_call_us=30, peer_call_us=50, peer_run_us=40)
    plan = scale.Plan(hubs=2, away=0, writes=0)
    assert scale.call_loads(plan, costs, 0.5) == pytest.approx((40.0, 20.0))


def test_writes_end_at_the_leader_of_the_stream(scale: Any) -> None:
    plan = scale.Plan(hubs=100, writes=1.0, grouped=2.0, renewals=0)
    found = scale.walls(plan, scale.Costs(store_records=1_000), scale.place(plan))
    assert (found[0].what, found[0].calls) == ("the leader of the stream, by records", 2_000)


def test_more_sessions_than_fit_are_the_first_wall(scale: Any) -> None:
    plan = scale.Plan(hubs=2, sessions=10_000_000, memory=1e9)
    found = scale.walls(plan, scale.Costs(), scale.place(plan))
    assert found[0].what == "the memory of the busiest hub"
    assert found[0].calls == 0.0
    assert found[0].used > 1


def test_of_few_workers_most_calls_go_to_other_hubs(scale: Any) -> None:
    few, many = (
        scale.place(scale.Plan(workers=workers, tools=1_000, worker_tools=1)) for workers in (1_000, 1_000_000)
    )
    assert max(few.near) < 0.05
    assert min(many.near) > 0.9


def test_a_call_without_queues_takes_the_sum_of_its_steps(scale: Any) -> None:
    plan = scale.Plan(hubs=2, workers=0, away=1.0, writes=0)
    costs = scale.Costs(call_us=10, forward_us=8, forwarded_us=6, hop_us=100)
    took = scale.follow(plan, costs, scale.place(plan), 0.001, calls=50)
    assert took == pytest.approx([4 + 100 + 3 + 10 + 3 + 100 + 4] * 50)


def test_calls_wait_for_one_another_where_a_hub_is_full(scale: Any) -> None:
    plan = scale.Plan(hubs=1, workers=0, away=0, writes=0)
    costs = scale.Costs(call_us=100)
    times = scale.follow(plan, costs, scale.place(plan), 9_900, calls=20_000)
    # An M/D/1 queue that is 99 % full: on the average a call waits for some fifty others.
    assert scale.percentile(times, 50) > 1_000


def test_the_same_seed_gives_the_same_run(scale: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--hubs", "5", "--workers", "100", "--json"]
    assert scale.main(words) == 0
    first = capsys.readouterr().out
    assert scale.main(words) == 0
    assert capsys.readouterr().out == first
    assert json.loads(first)["walls"][0]["calls_per_second"] > 0


def test_people_read_the_walls_and_the_times(scale: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["--hubs", "3", "--calls", "1000"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 hubs, 100,000 workers" in shown
    assert "p99" in shown


def test_the_check_passes_where_the_model_is_near_and_fails_where_it_is_not(scale: Any, tmp_path: Path) -> None:
    plan = {"hubs": 2, "workers": 0, "away": 0.0, "writes": 0.0}
    near = scale.predicted(scale.Plan(**plan), scale.Costs())
    file = tmp_path / "runs.json"
    for cpu_us, code in ((near * 1.1, 0), (near * 3, 1)):
        file.write_text(json.dumps({"runs": [{"name": "calls", "plan": plan, "cpu_us": cpu_us}]}), encoding="utf-8")
        assert scale.main(["--check", str(file)]) == code


def test_the_costs_are_those_that_were_measured(scale: Any) -> None:
    assert asdict(scale.Costs()) == json.loads(MEASURED.read_text(encoding="utf-8"))["costs"]


def test_the_model_is_near_what_was_measured_of_one_two_and_three_hubs(scale: Any) -> None:
    runs = json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]
    assert {run["plan"]["hubs"] for run in runs} == {1, 2, 3}
    assert scale.main(["--check", str(MEASURED)]) == 0


def test_costs_come_from_a_file_unless_they_are_given(
    scale: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"costs": {"worker_call_us": 1e6, "peer_call_us": 1e6}}), encoding="utf-8")
    words = ["--hubs", "1", "--workers", "0", "--near", "1", "--writes", "0", "--json", "--costs", str(file)]

    def rate(*more: str) -> float:
        assert scale.main([*words, *more]) == 0
        return float(json.loads(capsys.readouterr().out)["calls_per_second"])

    assert rate("--workers", "1") < 1
    assert rate("--workers", "1", "--worker-call-us", "10") > 10_000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hubs", "0"], "--hubs must be 1 or more, not 0"),
        (["--worker-tools", "0"], "--worker-tools must be 1 or more, not 0"),
        (["--workers", "-1"], "--workers must be a number of 0 or more, not -1"),
        (["--hop-us", "nan"], "--hop-us must be a number of 0 or more, not nan"),
        (["--away", "1.5"], "--away is a part of 1, not 1.5"),
        (["--grouped", "0.5"], "--grouped must be 1 or more, not 0.5"),
        (["--store-records", "0"], "--store-records and --memory must be more than 0"),
        (["--call-us", "0"], "--call-us, --worker-call-us and --mixed must be more than 0"),
        (["--near", "1.5"], "--near is a part of 1, not 1.5"),
        (["--check", "missing.json"], "--check: "),
        (["--costs", "missing.json"], "--costs: "),
    ],
)
def test_wrong_parameters_are_named(
    scale: Any, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        scale.main(words)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_file_without_runs_says_how_to_write_it(
    scale: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit):
        scale.main(["--check", str(file)])
    assert "python -m benchmarks.hubs_together" in capsys.readouterr().err


def test_things_are_spread_without_losing_any(scale: Any) -> None:
    placed = scale.place(scale.Plan(hubs=7, sessions=12_345))
    assert sum(placed.sessions) == 12_345
    assert all(math.isfinite(near) for near in placed.near)
