"""What a hub runs for others, and how it says that it cannot."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.cluster.tools import guests as module
from grpc_tool_bridge.cluster.tools.guests import Guests, new_guest
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import DeadlineExceededError, UnavailableError
from grpc_tool_bridge.link.calls import LOST_DETAIL
from grpc_tool_bridge.link.connection import CallOrigin
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.idle_link import IdleLink
from support.joined_hubs import joined_hubs


async def add(a: int, b: int) -> int:
    return a + b


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(Settings(), [add, count])
    yield hub
    await hub.aclose()


@pytest.fixture
def vain() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def guests(hub: Hub, vain: list[tuple[str, str]]) -> Guests:
    return Guests(hub, lambda session_id, tool_id: vain.append((session_id, tool_id)))


def arrived(request: Any, *, number: int = 1, seconds: float = 20, **metadata: str) -> IncomingCall:
    """A call of another hub that has just arrived."""
    link: Any = IdleLink()
    call = IncomingCall(number, "ExecuteTool", request.SerializeToString(), int(seconds * 1000), metadata, 0)
    call.peer = link
    call.deadline = time.monotonic() + seconds
    call.parent = CallOrigin(link, number, 0)
    return call


def asked(tool_id: str = "add", **more: Any) -> pb.ToolCallRequest:
    args = [serialize_value(1), serialize_value(2)]
    return pb.ToolCallRequest(session_id="s", tool_id=tool_id, args=args, **more)


def read(answer: Any) -> pb.ToolCallResponse:
    return answer if isinstance(answer, pb.ToolCallResponse) else pb.ToolCallResponse.FromString(bytes(answer))


async def test_a_call_runs_without_a_session_of_this_hub(hub: Hub, guests: Guests) -> None:
    request = asked()
    answer = read(await guests.execute_tool(request, arrived(request)))
    assert answer.success
    assert deserialize_value(answer.result) == 3
    assert not hub.store.sessions()
    assert not len(guests)


async def test_a_call_has_the_id_that_its_hub_knows_it_by(guests: Guests) -> None:
    request = asked()
    assert read(await guests.execute_tool(request, arrived(request, number=7))).request_id == "L-7"
    request = asked(request_id="mine")
    assert read(await guests.execute_tool(request, arrived(request))).request_id == "mine"


async def test_a_stream_runs(guests: Guests) -> None:
    request = pb.ToolStreamRequest(session_id="s", tool_id="count", args=[serialize_value(2)])
    chunks = [
        chunk if isinstance(chunk, pb.ToolStreamChunk) else pb.ToolStreamChunk.FromString(bytes(chunk))
        async for chunk in guests.stream_tool(request, arrived(request, number=3))
    ]
    assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "data", "complete"]
    assert {chunk.stream_id for chunk in chunks} == {"L-3"}


async def test_a_call_of_a_tool_that_is_not_here_makes_its_hub_choose_again(
    hub: Hub, guests: Guests, vain: list[tuple[str, str]]
) -> None:
    link: Any = IdleLink()

    async def theirs() -> None: ...

    specs = [as_tool(theirs).spec]
    hub.workers.register(link, pb.RegisterToolsRequest(tools=specs, worker_id="hub:c", capacity=2), is_peer=True)
    for name in ("unknown", "theirs"):
        request = asked(name)
        with pytest.raises(UnavailableError) as caught:
            await guests.execute_tool(request, arrived(request))
        assert caught.value.details[LOST_DETAIL] == "not begun"
        stream = pb.ToolStreamRequest(session_id="s", tool_id=name)
        with pytest.raises(UnavailableError):
            await anext(guests.stream_tool(stream, arrived(stream)))
    assert vain == [("s", "unknown")] * 2 + [("s", "theirs")] * 2


async def test_a_call_that_came_too_late_does_not_run(guests: Guests) -> None:
    request = asked()
    with pytest.raises(DeadlineExceededError):
        await guests.execute_tool(request, arrived(request, seconds=-1))


async def test_guests_take_no_permits_of_a_session(hub: Hub, guests: Guests) -> None:
    limiter = guests.session_of("s").limiter
    assert limiter is not None
    assert limiter.capacity > 1_000_000


async def test_guests_that_were_not_used_lately_are_forgotten(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GUESTS", 2)
    first, second = guests.session_of("1"), guests.session_of("2")
    assert guests.session_of("1") is first
    guests.session_of("3")
    assert guests.session_of("1") is first
    assert guests.session_of("2") is not second


async def test_guests_with_calls_or_with_tools_are_kept(
    hub: Hub, guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, with_tools = guests.session_of("1"), guests.keep("2")
    monkeypatch.setattr(module, "MAX_GUESTS", 1)
    assert busy.limiter is not None
    busy.limiter.try_acquire()
    for number in range(3, 6):
        guests.session_of(str(number))
    assert guests.session_of("1") is busy
    assert guests.session_of("2") is with_tools
    guests.release("2")
    assert "2" not in hub.store.guests


async def test_a_usual_call_takes_the_fast_path_and_any_other_does_not(hub: Hub, guests: Guests) -> None:
    def begun(request: Any, **more: Any) -> Any:
        return guests.try_begin_tool(arrived(request, **more), lambda *_: None)

    usual = begun(asked())
    assert usual is not None
    usual.close()
    assert begun(asked("unknown")) is None
    assert begun(asked("count")) is None
    assert begun(pb.ToolCallRequest(session_id="s", tool_id="add", args=[serialize_value("x" * 20_000)])) is None
    odd: Any = SimpleNamespace(SerializeToString=lambda: b"\xff\xff")
    assert begun(odd) is None
    hub.admission.draining = True
    assert begun(asked()) is None


async def test_a_hub_with_an_access_log_takes_no_fast_path() -> None:
    hub = Hub(Settings(access_log=True), [add])
    guests = Guests(hub, lambda *_: None)
    assert guests.try_begin_tool(arrived(asked()), lambda *_: None) is None
    await hub.aclose()


async def test_only_nested_calls_of_guests_have_a_way_to_their_hub(hub: Hub, guests: Guests) -> None:
    tool = hub.registry.by_name(None)["add"]
    link: Any = IdleLink()
    origin = CallOrigin(link, 5, 0)
    call = hub.admission.make_guest(new_guest("s"), tool, time.monotonic() + 9, origin)
    way = guests.way_of(call)
    assert way is not None
    assert way[1] == {"tool-bridge-origin": "5"}
    assert guests.way_of(None) is None
    assert guests.way_of(SimpleNamespace()) is None


async def test_a_guests_parent_is_the_call_above_it_that_runs_here(hub: Hub, guests: Guests) -> None:
    tool = hub.registry.by_name(None)["add"]
    link: Any = IdleLink()
    origin = CallOrigin(link, 5, 0)
    above = hub.admission.make_guest(new_guest("s"), tool, time.monotonic() + 9, origin)
    guests._calls[link, 5] = above
    for number, found in (("5", above), ("6", None), ("x", None), ("5" * 30, None)):
        assert guests._above(origin, {"tool-bridge-above": number}) is found
    assert guests._above(CallOrigin(IdleLink(), 5, 0), {"tool-bridge-above": "5"}) is None  # type: ignore[arg-type]


async def test_calls_of_a_guest_end_with_its_link() -> None:
    async with joined_hubs(a=[], b=[add]) as (a, b):
        await a.knows("add")
        await b.undial("a")
        assert not len(b.guests)
