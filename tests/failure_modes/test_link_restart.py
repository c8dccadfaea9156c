"""A link that comes back: to the same hub, to one that has restarted, or to the next while the old one drains."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from failure_modes.links import Connect, Gate, OverLink, echo
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    SessionError,
    Settings,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
    VariableChange,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableUpdate, WatchVariablesRequest
from integration.connections import read
from support.waiting import soon, until

HUB = Path(__file__).parent.parent / "e2e" / "hub_process.py"


class Watching:
    """A watch that is read all the time.

    Args:
        watch: What ``watch_variables`` gave.
    """

    def __init__(self, watch: AsyncIterator[VariableChange]) -> None:
        self.changes: list[VariableChange] = []
        self.task = asyncio.create_task(read(watch, self.changes))

    def seen(self) -> list[tuple[str, str, Any]]:
        return [(change.operation, change.name, change.value) for change in self.changes]

    async def sees(self, count: int) -> list[tuple[str, str, Any]]:
        """Waits for so many changes, and returns them all."""
        await until(lambda: len(self.changes) >= count or self.task.done(), f"for {count} changes: {self.seen()}")
        if self.task.done():
            self.task.result()
        return self.seen()

    async def fails(self) -> BaseException:
        with pytest.raises(ToolBridgeError) as caught:
            await soon(self.task)
        return caught.value

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def watching(world: OverLink, *names: str, **options: Any) -> Watching:
    """Begins a watch, and waits until the hub has it."""
    before = watches(world)
    made = Watching(world.variables.watch_variables(*names, **options))
    await until(lambda: watches(world) == before + 1)
    return made


def watches(world: OverLink) -> int:
    return sum(session.watches for session in world.hub.store.sessions())


async def lost(world: OverLink) -> None:
    """Loses the link, and waits until the hub has ended its watches."""
    await world.lost()
    await until(lambda: not watches(world))


async def back(world: OverLink, count: int = 1) -> None:
    """Restores the network, and waits until so many watches are there again."""
    world.proxy.restore()
    await until(lambda: watches(world) == count)


# ------------------------------------------------------------------------------------------------ the same hub


async def test_the_session_and_what_it_holds_outlive_a_link(
    over_link: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    renewed: list[bool] = []
    world = await over_link(echo, options={"on_session_renewed": lambda: renewed.append(True)})
    await world.variables.set_variable("x", [1, 2])
    session_id = world.session_id
    await world.lost()
    world.proxy.restore()
    assert await soon(world.bridge.tools["echo"]("x")) == "x"
    assert await soon(world.variables.get_variable("x")) == [1, 2]
    assert [session.id for session in world.hub.store.sessions()] == [session_id]
    assert not renewed
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_session_without_a_link_is_idle_and_with_the_next_it_is_not(over_link: Connect) -> None:
    world = await over_link(echo)
    (session,) = world.hub.store.sessions()
    assert session.links == 1
    await world.lost()
    assert session.links == 0
    world.proxy.restore()
    await until(lambda: session.links == 1)


async def test_a_session_that_ended_meanwhile_is_not_begun_anew_in_silence(
    over_link: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    renewed: list[bool] = []
    world = await over_link(echo, options={"on_session_renewed": lambda: renewed.append(True)})
    watch = await watching(world)
    await world.lost()
    await world.hub.store.cleanup_session(world.session_id)
    world.proxy.restore()
    assert isinstance(await watch.fails(), SessionError)
    with pytest.raises(ToolBridgeError) as caught:
        await soon(world.bridge.tools["echo"]("x"))
    assert caught.value.error_type == "SessionExpired"
    assert "ended at the hub while the link was lost" in caplog.text
    assert not renewed


# ------------------------------------------------------------------------------------------------ another hub


async def test_at_a_hub_that_began_anew_the_session_is_created_again_and_said_to_be(
    over_link: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    renewed: list[bool] = []
    world = await over_link(echo, options={"on_session_renewed": lambda: renewed.append(True)})
    await world.variables.set_variable("x", 1)
    session_id = world.session_id

    async def newer() -> str:
        return "newer"

    await world.restart(echo, newer)
    assert await soon(world.bridge.tools["echo"]("x")) == "x"
    assert await soon(world.bridge.tools["newer"]()) == "newer"
    assert await world.variables.get_variable("x", "gone") == "gone"
    assert renewed == [True]
    assert f"has restarted or is another one: session {session_id} was created again" in caplog.text
    assert [session.id for session in world.hub.store.sessions()] == [session_id]
    await soon(world.bridge.close())
    assert not len(world.hub.store)


async def test_a_session_that_somebody_else_has_begun_anew_is_no_less_renewed(
    over_link: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    renewed: list[bool] = []
    world = await over_link(echo, options={"on_session_renewed": lambda: renewed.append(True)})
    for life in (1, 2):
        await world.lost()
        await world.restart(echo)
        await world.writer()
        world.proxy.restore()
        assert await soon(world.bridge.tools["echo"]("x")) == "x"
        assert renewed == [True] * life
    assert caplog.text.count("has restarted") == 2


async def test_a_hub_that_is_killed_and_one_that_takes_its_place() -> None:
    program = [sys.executable, str(HUB)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout is not None
    address = (await soon(process.stdout.readline())).decode().strip()
    renewed = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        yield "another life"

    async with GRPCToolBridge(address, on_session_renewed=renewed.set) as bridge:
        await bridge.initialize()
        stream = bridge.tools["endless"].stream()
        assert await soon(anext(stream)) == 0
        process.send_signal(signal.SIGKILL)
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(read(stream, []))
        assert caught.value.code.name == "UNAVAILABLE"
        await soon(process.wait())
        call = asyncio.create_task(bridge.tools["endless"]())
        async with BridgeServer(address, tools=[endless], settings=Settings(shutdown_grace=0)):
            assert await soon(call) == ["another life"]
            assert renewed.is_set()
            await bridge.close()


async def test_a_callback_that_fails_keeps_nobody_from_calling(
    over_link: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the callback failed")

    world = await over_link(echo, options={"on_session_renewed": fail})
    await world.restart(echo)
    assert await soon(world.bridge.tools["echo"](1)) == 1
    assert "the callback failed" in caplog.text


# ------------------------------------------------------------------------------------------------ watches


async def test_a_watch_goes_on_after_a_loss_with_nothing_missed_and_nothing_twice(over_link: Connect) -> None:
    world = await over_link()
    writer = await world.writer()
    await writer.set_variable("x", 0)
    watch = await watching(world)
    await watch.sees(1)
    await lost(world)
    await writer.set_variable("x", 1)
    await writer.set_variable("y", "new")
    await writer.set_variable("x", 2)
    await writer.delete_variable("y")
    await back(world)
    await writer.set_variable("x", 3)
    assert await watch.sees(6) == [
        ("set", "x", 0),
        ("update", "x", 1),
        ("set", "y", "new"),
        ("update", "x", 2),
        ("delete", "y", None),
        ("update", "x", 3),
    ]
    await watch.end()
    await world.quiet()


async def test_a_watch_survives_losses_under_constant_change(over_link: Connect) -> None:
    world = await over_link(watch_history=100_000)
    writer = await world.writer()
    await writer.set_variable("x", 0)
    watch = await watching(world, "x")
    await watch.sees(1)
    number = 0
    for links in range(2, 6):
        # Changes are on their way when the link is lost, and go on without one.
        world.proxy.cut_after(20_000, "to_client")
        while world.proxy.accepted < links or watch.changes[-1].value < number - 500:
            if number > watch.changes[-1].value + 2_000:
                # Enough to catch up on: the next dial may be a while off.
                await asyncio.sleep(0.005)
                continue
            number += 1
            await writer.set_variable("x", number)
            # The network's turn.
            await asyncio.sleep(0)
    await watch.sees(number + 1)
    assert [change.value for change in watch.changes] == list(range(number + 1))
    revisions = [change.revision for change in watch.changes]
    assert revisions == sorted(set(revisions))
    await watch.end()


async def test_a_watch_whose_history_is_gone_gets_one_reset_and_the_present(over_link: Connect) -> None:
    world = await over_link(watch_history=3)
    writer = await world.writer()
    await writer.set_variable("x", 0)
    await writer.set_variable("y", 0)
    watch = await watching(world)
    await watch.sees(2)
    await lost(world)
    for number in range(1, 10):
        await writer.set_variable("x", number)
    await writer.delete_variable("y")
    await back(world)
    # A change that comes before the reset is part of what it resets to.
    await watch.sees(4)
    await writer.set_variable("x", "after")
    assert (await watch.sees(5))[2:] == [("reset", "", None), ("set", "x", 9), ("update", "x", "after")]
    await watch.end()


async def test_a_watch_of_quiet_variables_in_a_busy_session_needs_no_reset(over_link: Connect) -> None:
    world = await over_link(watch_history=3)
    writer = await world.writer()
    await writer.set_variable("quiet", 0)
    await writer.set_variable("busy", 0)
    watch = await watching(world, "quiet", "none yet")
    await watch.sees(1)
    await lost(world)
    for number in range(10):
        await writer.set_variable("busy", number)
    await writer.set_variable("quiet", 1)
    await writer.set_variable("none yet", 0)
    await back(world)
    assert (await watch.sees(3))[1:] == [("update", "quiet", 1), ("set", "none yet", 0)]
    await lost(world)
    for number in range(10):
        await writer.set_variable("busy", number)
    await back(world)
    await writer.delete_variable("quiet")
    assert (await watch.sees(4))[3:] == [("delete", "quiet", None)]
    # Of these two changes the history has lost the first.
    await lost(world)
    await writer.set_variable("none yet", 1)
    for number in range(2):
        await writer.set_variable("busy", number)
    await writer.set_variable("none yet", 2)
    await back(world)
    assert (await watch.sees(6))[4:] == [("reset", "", None), ("set", "none yet", 2)]
    # It has lost this one as well, of which nothing else is left.
    await lost(world)
    await writer.delete_variable("none yet")
    for number in range(10):
        await writer.set_variable("busy", number)
    await back(world)
    assert (await watch.sees(7))[6:] == [("reset", "", None)]
    await watch.end()


async def test_a_variable_that_came_and_went_unseen_is_a_reset(over_link: Connect) -> None:
    world = await over_link(watch_history=3)
    writer = await world.writer()
    await writer.set_variable("x", 0)
    watch = await watching(world)
    await watch.sees(1)
    for lasting in (1, 6):
        await lost(world)
        await writer.set_variable("short", 1)
        for number in range(5 - lasting):
            await writer.set_variable("short", number)
        await writer.delete_variable("short")
        for number in range(lasting):
            await writer.set_variable("other", number)
        await writer.delete_variable("other")
        seen = len(watch.changes)
        await back(world)
        assert (await watch.sees(seen + 2))[seen:] == [("reset", "", None), ("set", "x", 0)]
    await watch.end()


async def test_a_watch_that_has_seen_nothing_asks_for_the_present_again(over_link: Connect) -> None:
    world = await over_link()
    watch = await watching(world)
    await lost(world)
    await (await world.writer()).set_variable("x", 1)
    await back(world)
    assert await watch.sees(1) == [("set", "x", 1)]
    await watch.end()


@pytest.mark.parametrize("names", [(), ("x",), ("x", "xyz")])
async def test_a_watch_of_changes_alone_that_has_seen_nothing_misses_none(
    over_link: Connect, names: tuple[str, ...]
) -> None:
    world = await over_link()
    writer = await world.writer()
    for name in ("x", "xyz", "a"):
        await writer.set_variable(name, 0)
    watch = await watching(world, *names, include_initial=False)
    await lost(world)
    await writer.set_variable("x", 1)
    await writer.set_variable("x", 2)
    await back(world)
    assert await watch.sees(2) == [("update", "x", 1), ("update", "x", 2)]
    await watch.end()


async def test_a_watch_of_changes_alone_in_an_empty_session_sees_what_is_new(over_link: Connect) -> None:
    world = await over_link()
    writer = await world.writer()
    watch = await watching(world, include_initial=False)
    await lost(world)
    await writer.set_variable("x", 1)
    await back(world)
    await writer.set_variable("x", 2)
    assert await watch.sees(2) == [("set", "x", 1), ("update", "x", 2)]
    await watch.end()


async def test_a_watch_of_changes_alone_whose_variables_cannot_be_listed_gets_a_reset(over_link: Connect) -> None:
    world = await over_link(max_message_bytes=10_000)
    writer = await world.writer()
    for number in range(200):
        await writer.set_variable(f"{number:03} {'x' * 50}", number)
    watch = await watching(world, include_initial=False)
    await lost(world)
    await back(world)
    seen = await watch.sees(201)
    assert seen[0] == ("reset", "", None)
    assert [value for _, _, value in seen[1:]] == list(range(200))
    await watch.end()


async def test_a_watch_from_a_revision_that_has_seen_nothing_goes_on_from_there(over_link: Connect) -> None:
    world = await over_link()
    writer = await world.writer()
    await writer.set_variable("x", 0)
    await (await watching(world)).end()
    revision = await writer.set_variable("x", 1)
    await until(lambda: not watches(world))
    watch = await watching(world, "x", from_revision=revision)
    await lost(world)
    await writer.set_variable("x", 2)
    await back(world)
    assert await watch.sees(1) == [("update", "x", 2)]
    await watch.end()


@pytest.mark.parametrize("size", [20_000, 300_000])
async def test_present_values_that_were_half_received_come_whole_and_once(over_link: Connect, size: int) -> None:
    world = await over_link()
    writer = await world.writer()
    for number in range(10):
        await writer.set_variable(f"v{number}", "x" * size)
    for part in (0.1, 0.5, 0.9):
        accepted = world.proxy.accepted
        world.proxy.cut_after(int(10 * size * part), "to_client")
        watch = Watching(world.variables.watch_variables())
        assert [name for _, name, _ in await watch.sees(10)] == [f"v{number}" for number in range(10)]
        assert world.proxy.accepted == accepted + 1
        await writer.set_variable("v0", "last")
        assert (await watch.sees(11))[10:] == [("update", "v0", "last")]
        await watch.end()
        await until(lambda: not watches(world))
        await writer.delete_variable("v0")
        await writer.set_variable("v0", "x" * size)
        for number in range(1, 10):
            await writer.set_variable(f"v{number}", "x" * size)


async def test_a_reset_whose_values_were_half_received_loses_none_of_them(over_link: Connect) -> None:
    world = await over_link(watch_history=2)
    writer = await world.writer()
    watch = await watching(world)
    await lost(world)
    world.proxy.restore()
    await until(lambda: watches(world) == 1)
    await writer.set_variable("v0", 0)
    await watch.sees(1)
    await lost(world)
    for number in range(10):
        await writer.set_variable(f"v{number}", "x" * 300_000)
    for part in (50_000, 1_000_000, 2_000_000):
        world.proxy.cut_after(part, "to_client")
        await back(world)
        await until(lambda: not world.proxy.connections or len(watch.changes) >= 11)
    assert world.proxy.accepted >= 3
    await until(lambda: watch.changes[-1].name == "v9")
    seen = watch.seen()
    assert seen[1] == ("reset", "", None)
    last = len(seen) - 1 - seen[::-1].index(("reset", "", None))
    # Whatever was known before the last reset is forgotten with it.
    assert [name for _, name, _ in seen[last + 1 :]] == [f"v{number}" for number in range(10)]
    await writer.set_variable("v0", "after")
    assert (await watch.sees(len(seen) + 1))[-1] == ("update", "v0", "after")
    await watch.end()


async def test_a_watch_that_breaks_asks_for_what_it_has_not_seen_and_tells_nothing_twice(over_link: Connect) -> None:
    world = await over_link()
    asked: list[tuple[bool, int, str]] = []
    script = [
        [("reset", "", 50)],
        [("set", "a", 3), ("set", "b", 7)],
        [("set", "b", 7), ("update", "a", 51)],
        [],
        [("reset", "", 60), ("set", "b", 7), ("set", "a", 60)],
        [("set", "a", 60), ("update", "a", 61)],
    ]

    async def scripted(request: WatchVariablesRequest) -> AsyncIterator[VariableUpdate]:
        asked.append((request.include_initial, request.from_revision, request.epoch))
        for operation, name, revision in script.pop(0):
            yield VariableUpdate(operation=operation, name=name, revision=revision, epoch="life")
        if script:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "broken")

    world.bridge.client.stub.WatchSessionVariables = scripted
    watch = Watching(world.variables.watch_variables(from_revision=5, epoch="another"))
    await soon(watch.task)
    assert [(change.operation, change.revision) for change in watch.changes] == [
        ("reset", 50),
        # It asks for all of them again, since none had come.
        ("set", 3),
        ("set", 7),
        ("update", 51),
        ("reset", 60),
        ("set", 7),
        ("set", 60),
        ("update", 61),
    ]
    assert asked == [
        (True, 5, "another"),
        (True, 0, "another"),
        (False, 7, "life"),
        (False, 51, "life"),
        (False, 51, "life"),
        (False, 60, "life"),
    ]


@pytest.mark.parametrize("begins", ["with the present", "with what comes", "after a revision"])
async def test_at_a_hub_that_began_anew_a_watch_gets_one_reset_and_the_present(over_link: Connect, begins: str) -> None:
    world = await over_link()
    writer = await world.writer()
    revision = await writer.set_variable("x", 0)
    options: dict[str, dict[str, Any]] = {
        "with the present": {},
        "with what comes": {"include_initial": False},
        "after a revision": {"from_revision": revision},
    }
    watch = await watching(world, **options[begins])
    seen = await watch.sees(1 if begins == "with the present" else 0)
    await world.lost()
    await world.restart()
    # Somebody else of the session is there first.
    writer = await world.writer()
    await writer.set_variable("x", "another life")
    await back(world)
    await watch.sees(len(seen) + 2)
    await writer.set_variable("x", "last")
    assert (await watch.sees(len(seen) + 3))[len(seen) :] == [
        ("reset", "", None),
        ("set", "x", "another life"),
        ("update", "x", "last"),
    ]
    assert {change.epoch for change in watch.changes[len(seen) :]} == {world.hub.store.revisions.epoch}
    await watch.end()


async def test_several_watches_of_one_link_all_go_on(over_link: Connect) -> None:
    world = await over_link()
    writer = await world.writer()
    both = [await watching(world, name) for name in ("x", "y")]
    await lost(world)
    await writer.set_variable("x", 1)
    await writer.set_variable("y", 2)
    await back(world, 2)
    assert [await watch.sees(1) for watch in both] == [[("set", "x", 1)], [("set", "y", 2)]]
    for watch in both:
        await watch.end()


async def test_a_watch_that_finds_no_other_link_ends_with_unavailable(
    over_link: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await over_link()
    watch = await watching(world)
    for module in ("client.variables", "client.resume", "link.dialer"):
        monkeypatch.setattr(f"grpc_tool_bridge.{module}.CALL_TIMEOUT", 0.1)
    world.lose()
    error = await watch.fails()
    assert isinstance(error, ToolCommunicationError)
    assert (error.tool_name, error.code.name) == ("WatchSessionVariables", "UNAVAILABLE")
    assert "there was no link within" in str(error)
    # Nor does another begin.
    assert isinstance(await Watching(world.variables.watch_variables()).fails(), ToolCommunicationError)
    monkeypatch.undo()
    world.proxy.restore()
    await (await watching(world)).end()


async def test_a_hub_that_ends_each_watch_at_once_is_not_asked_for_ever(
    over_link: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await over_link()
    for module in ("variables", "resume"):
        monkeypatch.setattr(f"grpc_tool_bridge.client.{module}.CALL_TIMEOUT", 0.2)
    asked = 0

    async def refuse(request: Any) -> AsyncIterator[Any]:
        nonlocal asked
        asked += 1
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "never")
        yield

    world.bridge.client.stub.WatchSessionVariables = refuse
    error = await Watching(world.variables.watch_variables()).fails()
    assert "never" in str(error)
    assert 1 < asked < 10


async def test_an_answer_other_than_unavailable_ends_a_watch_at_once(over_link: Connect) -> None:
    world = await over_link(max_session_watches=1)
    watch = await watching(world)
    assert (await Watching(world.variables.watch_variables()).fails()).error_type == "ResourceExhausted"  # type: ignore[attr-defined]  # of the bridge
    await watch.end()


async def test_closing_the_bridge_ends_a_watch_that_waits_for_a_link(over_link: Connect) -> None:
    world = await over_link()
    watch = await watching(world)
    await lost(world)
    await soon(world.bridge.close())
    assert "was closed" in str(await watch.fails())


async def test_a_watch_that_is_left_while_it_waits_for_a_link_leaves_nothing(over_link: Connect) -> None:
    world = await over_link()
    watch = await watching(world)
    await lost(world)
    await watch.end()
    world.proxy.restore()
    assert await soon(world.variables.get_variable("x", "none")) == "none"
    await world.quiet()


async def test_over_plain_rpcs_a_watch_ends_with_its_connection(over_link: Connect) -> None:
    world = await over_link(options={"transport": "rpc"})
    watch = await watching(world)
    world.proxy.cut()
    error = await watch.fails()
    assert isinstance(error, ToolCommunicationError)
    assert error.code.name == "UNAVAILABLE"


# ------------------------------------------------------------------------------------------------ a hub that drains


async def test_while_a_hub_drains_its_calls_finish_and_new_ones_wait_for_the_next(over_link: Connect) -> None:
    gate = Gate()
    renewed: list[bool] = []
    world = await over_link(gate.work, gate.stream, options={"on_session_renewed": lambda: renewed.append(True)})
    values: list[int] = []
    call = asyncio.create_task(world.bridge.tools["work"](5))
    stream = asyncio.create_task(read(world.bridge.tools["stream"].stream(2), values))
    await gate.running(2)
    first = world.server
    stopping = asyncio.create_task(first.stop(grace=60))
    await until(lambda: not world.bridge.client.is_linked)
    await world.replace(echo)
    late = asyncio.create_task(world.bridge.call_tool("echo", "the next"))
    assert not any(task.done() for task in (call, stream, stopping))
    gate.go_on.set()
    assert await soon(call) == 5
    await soon(stream)
    assert values == [0, 1, 2]
    await soon(stopping)
    assert await soon(late) == "the next"
    assert renewed == [True]


async def test_new_calls_wait_for_the_next_hub_at_the_same_address() -> None:
    first = BridgeServer(tools=[echo])
    await first.start()
    async with GRPCToolBridge(first.address) as bridge:
        await bridge.initialize()
        await soon(first.stop(grace=60))
        calls = [asyncio.create_task(bridge.tools["echo"](number)) for number in range(10)]
        await asyncio.wait(calls, timeout=0.01)
        async with BridgeServer(first.address, tools=[echo], settings=Settings(shutdown_grace=0)):
            assert await soon(asyncio.gather(*calls)) == list(range(10))
            await bridge.close()


async def test_idle_links_and_watches_keep_no_hub_from_ending(over_link: Connect) -> None:
    world = await over_link(echo)
    watch = await watching(world)
    idle = world.make_bridge()
    await idle.initialize("idle")
    assert len(world.links()) == 2
    await soon(world.server.stop(grace=60))
    assert not world.links()
    assert not watch.task.done()
    await watch.end()


async def test_a_watch_goes_on_at_the_hub_that_takes_over(over_link: Connect) -> None:
    world = await over_link()
    await (await world.writer()).set_variable("x", 0)
    watch = await watching(world)
    await watch.sees(1)
    await world.restart()
    await until(lambda: watches(world) == 1)
    await (await world.writer()).set_variable("x", "another life")
    # The reset comes even where there is nothing yet.
    assert (await watch.sees(3))[1:] == [("reset", "", None), ("set", "x", "another life")]
    await watch.end()


async def test_a_call_over_plain_rpc_to_a_hub_that_drains_is_refused_at_once(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work, options={"transport": "rpc"})
    call = asyncio.create_task(world.bridge.tools["work"](5))
    await gate.running()
    stopping = asyncio.create_task(world.server.stop(grace=60))
    await until(lambda: world.hub.admission.draining)
    with pytest.raises(UnavailableError, match="shutting down"):
        await soon(anext(world.variables.watch_variables()))
    gate.go_on.set()
    assert await soon(call) == 5
    await soon(stopping)
