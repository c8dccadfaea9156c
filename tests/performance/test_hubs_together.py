"""What measures several hubs together: its mixes, its load, and how it takes costs from runs."""

import asyncio

import pytest
from benchmarks.hubs_together import CHECKS, Run, Used, mixed, plan_of, split_writes
from benchmarks.mixed_traffic import Mix, MixedLoad, Request, requests_of, session_of, tool_of, traffic
from benchmarks.raw_link import RawLink
from benchmarks.work import WrongAnswerError, add

from grpc_tool_bridge import BridgeServer, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE

pytestmark = pytest.mark.xdist_group("benchmarks")


def _calls(requests: list[Request]) -> list[pb.ToolCallRequest]:
    return [pb.ToolCallRequest.FromString(each.payload) for each in requests if each.method == "ExecuteTool"]


def test_a_mix_has_as_much_of_each_as_it_says() -> None:
    requests = requests_of(Mix(away=0.5, far=0.25, writes=0.2), hub=1, hubs=3)
    calls = _calls(requests)
    owners = [int(call.session_id.split("-")[1]) for call in calls]
    assert len(requests) - len(calls) == len(calls) // 5
    assert sum(owner != 1 for owner in owners) == len(calls) // 2
    assert set(owners) == {0, 1, 2}
    far = [call.tool_id != tool_of(owner) for call, owner in zip(calls, owners, strict=True)]
    assert sum(far) == len(calls) // 4


def test_with_one_hub_nothing_is_elsewhere() -> None:
    calls = _calls(requests_of(Mix(away=1.0, far=1.0), hub=0, hubs=1))
    assert {call.tool_id for call in calls} == {tool_of(0)}
    assert all(call.session_id.startswith("session-0-") for call in calls)


def test_writes_alone_have_no_calls() -> None:
    requests = requests_of(Mix(calls=False, writes=1.0, sessions=60), hub=0, hubs=1)
    assert {each.method for each in requests} == {"SetSessionVariable"}
    sessions = {pb.SetVariableRequest.FromString(each.payload).session_id for each in requests}
    assert sessions == {session_of(0, number) for number in range(60)}


async def test_traffic_counts_calls_and_writes_that_a_hub_has_answered() -> None:
    mix = Mix(functions=True, writes=0.5)
    async with asyncio.timeout(PATIENCE), BridgeServer(tools=[tool(add)]) as hub:
        async with traffic([hub.address], mix, [0]) as loads:
            while any(load.calls < 300 for load in loads):  # noqa: ASYNC110 - to count must cost nothing more
                await asyncio.sleep(0)
        assert len(loads) == mix.links
        for load in loads:
            assert load.writes == pytest.approx(load.calls / 2, abs=60)
            assert load.count == load.calls + load.writes
        sessions = [hub.hub.store.peek(session_of(0, number)) for number in range(mix.sessions)]
        assert all(session.variable_count for session in sessions)


async def test_traffic_that_is_refused_fails() -> None:
    async with asyncio.timeout(PATIENCE), BridgeServer(tools=[]) as hub, RawLink.open(hub.address) as link:
        load = MixedLoad(requests_of(Mix(functions=True), 0, 1))
        await load.begin(link)
        await link.flush()
        answer, *_ = await link.receive()
        with pytest.raises(WrongAnswerError):
            load.take(link, answer)


def test_the_costs_of_writes_and_records_come_from_two_runs() -> None:
    # A write of 20 µs, a record of 90.
    runs = [Used([20 + 90 / 30], grouped=30), Used([20 + 90 / 1.5], grouped=1.5)]
    assert split_writes(runs) == pytest.approx((90, 20))


def test_runs_that_group_alike_say_nothing_of_records() -> None:
    assert split_writes([Used([50.0], grouped=2), Used([50.0], grouped=2)]) == (0.0, 50.0)


def test_the_plan_of_a_run_says_what_it_did() -> None:
    plan = plan_of(Run("", 3, Mix(away=0.5, far=0.25, writes=0.1)), grouped=2.0)
    assert (plan["hubs"], plan["near"], plan["away"], plan["writes"], plan["grouped"]) == (3, 0.75, 0.5, 0.1, 2.0)
    assert plan["workers"] == 3
    assert plan_of(Run("", 1, Mix(functions=True)), grouped=1.0)["workers"] == 0


def test_one_two_and_three_hubs_are_compared_with_the_model() -> None:
    assert {run.hubs for run in CHECKS} == {1, 2, 3}
    assert all(run.mix.calls for run in CHECKS)


def test_what_a_mix_costs_more_comes_from_the_runs_of_one_and_two_hubs() -> None:
    costs = {"call_us": 10.0}
    plan = {"workers": 0, "away": 0.0, "writes": 0.0}
    runs = [{"plan": {"hubs": hubs, **plan}, "cpu_us": cpu_us} for hubs, cpu_us in ((1, 15.0), (2, 15.0), (3, 90.0))]
    assert mixed(costs, runs) == pytest.approx(1.5)
