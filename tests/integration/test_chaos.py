"""A hub that injects faults on purpose, as its callers see it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridge,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolTimeoutError,
    ToolWorker,
)
from grpc_tool_bridge.cli import main
from integration.test_cli import TOOLS, popen, read_line, wait_for_log
from support.patience import PATIENCE
from support.waiting import soon, until

ran: list[str] = []


async def greet(name: str) -> str:
    if name == "nobody":
        raise LookupError(name)
    ran.append(name)
    return f"hello {name}"


def count(to: int) -> Iterator[int]:
    yield from range(to)


@pytest.fixture(params=["hub", "worker"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the tools run."""
    ran.clear()
    return str(request.param)


@asynccontextmanager
async def calling(
    *rules: dict[str, Any], place: str = "hub", session: str = "ann", http: bool = False, **settings: Any
) -> AsyncIterator[tuple[BridgeServer, GRPCToolBridge]]:
    made = Settings(shutdown_grace=0.0, **settings)
    chaos = {"seed": 7, "rules": list(rules)}
    tools = [greet, count]
    server = BridgeServer(
        tools=tools if place == "hub" else [],
        settings=made,
        chaos=chaos,
        http_address="127.0.0.1:0" if http else None,
    )
    async with server:
        worker = ToolWorker(server.address, tools=tools if place == "worker" else [])
        async with worker, GRPCToolBridge(server.address) as bridge:
            await bridge.initialize(session)
            yield server, bridge


async def outcome(bridge: ToolBridge, name: str = "bob") -> str:
    try:
        return str(await soon(bridge.tools["greet"](name)))
    except ToolExecutionError as error:
        return error.error_type


async def read(values: AsyncIterator[Any]) -> tuple[list[Any], ToolBridgeError | None]:
    """Returns the values of a stream, and the error that ends it."""
    got: list[Any] = []
    try:
        async for value in values:
            got.append(value)  # noqa: PERF401 - what came before the error counts
    except ToolBridgeError as error:
        return got, error
    return got, None


async def test_an_error_of_the_table_reaches_the_caller_as_if_it_were_real(place: str) -> None:
    rule = {
        "tool": "gr*", "last_call": 1, "error": "ResourceExhausted", "message": "full", "details": {"retry_after": "2"},
    }  # fmt: skip
    async with calling(rule, place=place) as (_, bridge):
        with pytest.raises(ToolExecutionError, match="full") as caught:
            await bridge.tools["greet"]("bob")
        assert (caught.value.error_type, caught.value.retryable, caught.value.retry_after) == (
            "ResourceExhausted", True, 2.0,
        )  # fmt: skip
        assert caught.value.details["chaos"] == "rule 1"
        assert ran == []
        assert await bridge.tools["greet"]("bob") == "hello bob"
        assert [value async for value in bridge.tools["count"].stream(2)] == [0, 1]


async def test_an_error_after_the_tool_has_run_hides_its_result(place: str) -> None:
    async with calling({"error": "WorkerUnavailable", "when": "after"}, place=place) as (_, bridge):
        assert await outcome(bridge) == "WorkerUnavailable"
        assert ran == ["bob"]
        with pytest.raises(ToolExecutionError) as caught:
            assert [value async for value in bridge.tools["count"].stream(2)] == []
        assert caught.value.error_type == "WorkerUnavailable"


async def test_an_exception_of_the_tool_has_its_class() -> None:
    rule = {"error": "ConnectionResetError", "origin": "tool", "message": "reset by peer"}
    async with calling(rule) as (_, bridge):
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.tools["greet"]("bob")
        assert (caught.value.error_type, caught.value.details["origin"]) == ("ConnectionResetError", "tool")
        assert not caught.value.retryable


async def test_the_same_seed_gives_each_session_the_same_faults_in_every_run() -> None:
    rule = {"error": "WorkerUnavailable", "probability": 0.5}

    async def run(*, reverse: bool) -> dict[str, list[str]]:
        async with calling(rule) as (server, _):
            found: dict[str, list[str]] = {}
            async with GRPCToolBridge(server.address) as ann, GRPCToolBridge(server.address) as bob:
                await ann.initialize("first")
                await bob.initialize("second")
                order = [("first", ann), ("second", bob)] * 10
                for name, bridge in reversed(order) if reverse else order:
                    found.setdefault(name, []).append(await outcome(bridge))
            return found

    once = await run(reverse=False)
    assert await run(reverse=True) == once
    assert once["first"] != once["second"]
    assert {*once["first"]} == {"hello bob", "WorkerUnavailable"}


async def test_a_delay_counts_against_the_deadline(place: str) -> None:
    async with calling({"latency": 10 * PATIENCE, "first_call": 2}, place=place) as (_, bridge):
        # Not to wait for the connection below.
        await bridge.tools["greet"]("ann")
        with pytest.raises(ToolTimeoutError) as caught:
            await bridge.tools["greet"].with_options(timeout=0.2)("bob")
        assert caught.value.details["started"] == "false"
        assert ran == ["ann"]


async def test_a_rate_limit_refuses_by_the_number_of_the_call() -> None:
    rule = {"tool": "greet", "rate_limit": {"calls": 2, "refused": 1, "retry_after": 0.01}}
    async with calling(rule) as (_, bridge):
        outcomes = [await outcome(bridge) for _ in range(6)]
        assert outcomes == ["hello bob", "hello bob", "RateLimitExceeded"] * 2
        # The eighth try would be the ninth call.
        await outcome(bridge)
        await outcome(bridge)
        assert await bridge.execute_with_retry("greet", "bob") == "hello bob"


async def test_a_stream_is_slow_and_is_cut_off(place: str) -> None:
    rule = {"tool": "count", "truncate_after": 2, "chunk_latency": 0.01, "error": "InternalError"}
    async with calling(rule, place=place) as (server, bridge):
        got, error = await read(bridge.tools["count"].stream(5))
        assert got == [0, 1]
        assert isinstance(error, ToolExecutionError)
        assert error.error_type == "InternalError"
        assert await bridge.tools["greet"]("bob") == "hello bob"
        assert dict(server.hub.wrappers.injected()) == {
            ("rule 1", "slow-stream"): 1, ("rule 1", "truncated"): 1,
        }  # fmt: skip


async def test_a_stream_that_is_too_slow_has_begun_before_its_deadline(place: str) -> None:
    async with calling({"tool": "count", "chunk_latency": 10 * PATIENCE}, place=place) as (_, bridge):
        got, error = await read(bridge.tools["count"].with_options(timeout=1.0).stream(5))
        assert got == []
        assert isinstance(error, ToolTimeoutError)
        assert error.details["started"] == "true"


async def test_an_error_of_the_tool_itself_stays_as_it_is(place: str) -> None:
    async with calling({"error": "Cancelled", "when": "after"}, place=place) as (_, bridge):
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.tools["greet"]("nobody")
        assert caught.value.error_type == "LookupError"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_dropped_link_is_dialled_again_and_the_session_goes_on(place: str, when: str) -> None:
    async with calling({"tool": "greet", "last_call": 1, "drop": True, "when": when}, place=place) as (_, bridge):
        await bridge.client.session_context.set_variable("kept", 1)
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(bridge.tools["greet"]("bob"))
        assert caught.value.code_name == "UNAVAILABLE"
        assert ran == (["bob"] if when == "after" else [])
        assert await soon(bridge.tools["greet"]("ann")) == "hello ann"
        assert await bridge.client.session_context.get_variable("kept") == 1


async def test_the_result_of_a_lost_answer_stays_with_its_idempotency_key(place: str) -> None:
    rule = {"tool": "greet", "last_call": 1, "drop": True, "when": "after"}
    async with calling(rule, place=place) as (_, bridge):
        assert await soon(bridge.execute_with_retry("greet", "bob")) == "hello bob"
        assert ran == ["bob"]


async def test_a_stream_loses_its_link_after_some_chunks() -> None:
    async with calling({"tool": "count", "truncate_after": 1, "drop": True}) as (_, bridge):
        got, error = await read(bridge.tools["count"].stream(5))
        assert got in ([], [0])
        assert isinstance(error, ToolCommunicationError)


async def test_a_caller_without_a_link_gets_an_error_instead() -> None:
    async with calling({"drop": True}) as (server, _), GRPCToolBridge(server.address, transport="rpc") as bridge:
        await bridge.initialize("rpc")
        assert await outcome(bridge) == "WorkerUnavailable"


async def test_a_rule_for_some_sessions_leaves_the_others_alone() -> None:
    rule = {"session": "a*", "metadata": {"team": "blue"}, "error": "Cancelled"}
    async with calling(rule) as (server, ann):
        assert await outcome(ann) == "hello bob"
        async with GRPCToolBridge(server.address) as blue, GRPCToolBridge(server.address) as other:
            await blue.initialize("amy", metadata={"team": "blue"})
            await other.initialize("ben", metadata={"team": "blue"})
            assert await outcome(blue) == "Cancelled"
            assert await outcome(other) == "hello bob"


async def test_batches_and_nested_calls_have_faults_too() -> None:
    rule = {"tool": "greet", "first_call": 2, "last_call": 2, "error": "Unimplemented"}
    async with calling(rule) as (_, bridge):
        items = [{"tool_id": "greet", "args": [name]} for name in ("ann", "bob", "cid")]
        first, second, third = await bridge.execute_batch(items)
        assert (first, third) == ("hello ann", "hello cid")
        assert isinstance(second, ToolExecutionError)
        assert second.error_type == "Unimplemented"


async def test_what_is_injected_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    rules = ({"name": "late", "latency": 0.001}, {"name": "bad", "tool": "greet", "error": "TimeoutError"})
    async with calling(*rules, http=True) as (server, bridge):
        assert await outcome(bridge) == "TimeoutError"
        metrics = await bridge.client.get_metrics("chaos.*")
        assert {name: value.integer_value for name, value in metrics.items()} == {
            "chaos.late.latency": 1, "chaos.bad.error": 1,
        }  # fmt: skip
        page = await asyncio.to_thread(urlopen, f"http://{server.http_address}/metrics", timeout=PATIENCE)
        with page:
            assert 'tool_bridge_faults_injected_total{fault="error",rule="bad"} 1.0' in page.read().decode()
        await until(lambda: server.hub.admission.active == 0)
    text = caplog.text
    assert "injects faults on purpose (chaos, seed 7, 2 rules): never use it in production" in text
    assert "chaos, rule 'late': call 1 of greet in session 'ann': delayed by 0.001 s" in text
    assert "chaos, rule 'bad': call 1 of greet in session 'ann': fails with TimeoutError" in text


CHAOS = 'seed = 3\n[[rules]]\nname = "bad"\nerror = "Unimplemented"\n'


async def test_serve_says_loudly_that_faults_are_injected(tmp_path: Path) -> None:
    file = tmp_path / "chaos.toml"
    file.write_text(CHAOS)
    words = ["serve", "--address", "127.0.0.1:0", "--tools", f"{TOOLS}:add", "--chaos", str(file)]
    with popen(*words) as plain, popen(*words, "--json") as for_programs:
        try:
            _, chaos, tools = [await asyncio.to_thread(read_line, plain) for _ in range(3)]
            assert f"CHAOS: this hub injects faults on purpose ({file}, seed 3, 1 rule)" in chaos
            assert tools == "1 tool\n"
            await asyncio.to_thread(wait_for_log, plain, "injects faults on purpose")
            facts = json.loads(await asyncio.to_thread(read_line, for_programs))
            assert (facts["chaos"], facts["chaos_seed"]) == (str(file), 3)
            async with GRPCToolBridge(facts["address"]) as bridge:
                await bridge.initialize("s")
                with pytest.raises(ToolExecutionError) as caught:
                    await bridge.tools["add"](1)
                assert caught.value.error_type == "Unimplemented"
        finally:
            plain.kill()
            for_programs.kill()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "error: cannot read {file}: No such file"),
        ("[[rules]", "error: --chaos {file} is not valid TOML: "),
        (
            CHAOS.replace("error", "eror"),
            "error: --chaos {file}: rule 1 ('bad'): 'eror' is not a key; did you mean error",
        ),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_2(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "chaos.toml"
    if text is not None:
        file.write_text(text)
    assert main(["serve", "--address", "127.0.0.1:0", "--chaos", str(file)]) == 2
    assert capsys.readouterr().err.startswith(said.format(file=file))


async def test_a_tool_that_no_rule_matches_keeps_its_plain_backend() -> None:
    async with calling({"tool": "count", "drop": True}) as (server, _):
        assert server.hub.store.tools["greet"].backend is None
        assert server.hub.store.tools["count"].backend is not None


async def test_cancelling_a_delayed_call_leaves_nothing_behind() -> None:
    async with calling({"latency": 10 * PATIENCE}) as (server, bridge):
        call = asyncio.ensure_future(bridge.tools["greet"]("bob"))
        await until(lambda: server.hub.admission.active == 1)
        call.cancel()
        await until(lambda: server.hub.admission.active == 0)
