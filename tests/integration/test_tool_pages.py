"""Tools that are more than one answer lists, over every transport."""

from typing import Any

import pytest

from grpc_tool_bridge import (
    AlreadyExistsError,
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolWorker,
    ValidationError,
    tool,
)
from grpc_tool_bridge.errors import ConflictError, ProtocolError, ResourceExhaustedError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing import MockBridgeServer
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from integration.connections import Connect, World
from support.waiting import soon, until

# So small that a few tools fill a page.
SMALL = 20_000


def made(name: str, description: str = "x" * 2_000) -> Any:
    async def run() -> str:
        return name

    return tool(name=name, description=description)(run)


MANY = [made(f"t{number:03}") for number in range(40)]
NAMES = [f"t{number:03}" for number in range(40)]


async def page(world: World, **fields: Any) -> Any:
    """Reads one page; raises the error that a caller gets."""
    request = pb.GetSessionToolsRequest(**{"session_id": world.session_id, **fields})
    try:
        return await world.bridge.client.stub.GetSessionTools(request)
    except RpcError as error:
        raise from_rpc_error(error, method="GetSessionTools", where="the hub") from error


async def test_a_client_sees_all_tools_though_no_answer_has_all(connect: Connect) -> None:
    world = await connect(*MANY, max_message_bytes=SMALL)
    assert list(world.tools) == NAMES
    assert await world.tools["t039"]() == "t039"
    assert list(await world.bridge.client.refresh_tools()) == NAMES
    first = await page(world)
    assert 1 < len(first.tools) < 40
    assert first.ByteSize() < SMALL


async def test_the_answer_to_a_client_that_knows_no_pages_has_the_first(connect: Connect) -> None:
    world = await connect(*MANY, max_message_bytes=SMALL)
    request = pb.InitializeSessionRequest(session_id=world.session_id)
    opened = await world.bridge.client.stub.InitializeSession(request)
    assert (opened.success, opened.more_tools, opened.tool_count) == (True, True, 40)
    assert [spec.name for spec in opened.tools] == NAMES[: len(opened.tools)]
    assert opened.ByteSize() < SMALL


async def test_few_tools_come_with_the_session_and_in_one_page(connect: Connect) -> None:
    world = await connect(*MANY[:3])
    request = pb.InitializeSessionRequest(session_id=world.session_id)
    opened = await world.bridge.client.stub.InitializeSession(request)
    assert ([spec.name for spec in opened.tools], opened.more_tools) == (NAMES[:3], False)
    only = await page(world)
    assert ([spec.name for spec in only.tools], only.next_page_token) == (NAMES[:3], "")


async def test_pages_of_a_given_size_have_each_tool_once_at_one_revision(connect: Connect) -> None:
    world = await connect(*MANY)
    names: list[str] = []
    revisions = set()
    token = ""
    while not names or token:
        answer = await page(world, page_token=token, page_size=7)
        assert len(answer.tools) <= 7
        names += [spec.name for spec in answer.tools]
        revisions.add(answer.revision)
        token = answer.next_page_token
    assert names == NAMES
    assert len(revisions) == 1


async def test_a_page_of_a_list_that_has_changed_is_refused(connect: Connect) -> None:
    world = await connect(*MANY)
    token = (await page(world, page_size=5)).next_page_token
    assert (await page(world, page_token=token, page_size=5)).tools[0].name == "t005"
    world.hub.registry.register_batch(world.session_id, [made("another")])
    with pytest.raises(ConflictError, match="list them again from the first page") as caught:
        await page(world, page_token=token)
    assert caught.value.error_type == "RevisionConflict"


async def test_a_token_of_another_session_is_refused(connect: Connect) -> None:
    world = await connect(*MANY)
    token = (await page(world, page_size=5)).next_page_token
    other = await world.attach("other")
    with pytest.raises(ConflictError, match="or it was of another session"):
        await page(world, session_id=other.session_id, page_token=token)


@pytest.mark.parametrize("token", ["x", "1", "-1.1.0", "1.1.1.1", "٣.1.0123456789abcdef", "9" * 30, "\n", " "])
async def test_a_token_that_is_none_is_refused(connect: Connect, token: str) -> None:
    world = await connect(*MANY)
    with pytest.raises(ValidationError, match="is not from GetSessionTools"):
        await page(world, page_token=token)


async def test_a_token_past_the_end_and_a_size_below_zero_are_refused(connect: Connect) -> None:
    world = await connect(*MANY)
    revision, _, mark = (await page(world, page_size=5)).next_page_token.split(".")
    for start in ("0", "40", "9999999999"):
        with pytest.raises(ValidationError, match="is for a page that the list does not have"):
            await page(world, page_token=f"{revision}.{start}.{mark}")
    with pytest.raises(ValidationError, match=r"page_size must be 0 \(as many as fit\) or more, not -1"):
        await page(world, page_size=-1)


async def test_tools_that_come_and_go_are_followed_where_there_are_many(connect: Connect) -> None:
    world = await connect(*MANY, max_message_bytes=SMALL)
    world.hub.registry.register_batch("", [made(f"u{number:03}") for number in range(40)])
    await until(lambda: len(world.tools) == 80)
    world.hub.registry.unregister("", NAMES)
    await until(lambda: list(world.tools) == [f"u{number:03}" for number in range(40)])


async def test_a_worker_offers_more_than_one_request_takes() -> None:
    offered = [made(f"w{number:03}", "x" * 600_000) for number in range(16)]
    async with (
        BridgeServer() as server,
        ToolWorker(server.address, tools=offered),
        GRPCToolBridge(server.address, transport="rpc") as bridge,
    ):
        tools = await bridge.initialize()
        assert len(tools) == 16
        assert await tools["w015"]() == "w015"


# -------------------------------------------------------------------------------------------- a hub that is a mock


def page_of(*names: str, revision: int, token: str = "") -> pb.GetSessionToolsResponse:
    specs = [pb.ToolSpec(name=name) for name in names]
    return pb.GetSessionToolsResponse(tools=specs, revision=revision, next_page_token=token)


async def test_a_mock_hub_lists_its_tools_in_pages() -> None:
    async with MockBridgeServer() as server:
        server.set_tools(*(pb.ToolSpec(name=name) for name in NAMES), page_size=15)
        async with GRPCToolBridge(server.address, transport="rpc", follow_tools=False) as bridge:
            assert list(await bridge.initialize("s")) == NAMES
        assert [request.page_token for request in server.requests_for("GetSessionTools")] == ["", "1", "2"]
        with pytest.raises(TypeError, match="a tool must be a ToolSpec, not str"):
            server.set_tools("add")  # type: ignore[arg-type]  # that is the test
        with pytest.raises(ValueError, match=r"page_size must be 0 \(all\) or more, not -1"):
            server.set_tools(page_size=-1)


@pytest.mark.parametrize(
    "change", [ConflictError("changed"), page_of("b", revision=2)], ids=["refused", "another revision"]
)
async def test_a_list_that_changes_meanwhile_is_read_again_until_it_is_whole(change: Any) -> None:
    async with MockBridgeServer() as server:
        server.set_tools(pb.ToolSpec(name="a"))
        server.set_response(
            "GetSessionTools",
            page_of("a", "gone", revision=1, token="x"),
            change,
            page_of("a", revision=3, token="y"),
            page_of("b", revision=3),
        )
        async with GRPCToolBridge(server.address, transport="rpc", follow_tools=False) as bridge:
            await bridge.initialize("s")
            assert list(await soon(bridge.client.refresh_tools())) == ["a", "b"]
            assert bridge.client.tools_revision == 3


@pytest.mark.parametrize(
    "answers",
    [[page_of("a", revision=1, token="x")], [page_of(revision=1, token="x")]],
    ids=["the same page again and again", "a page without tools"],
)
async def test_pages_without_an_end_are_an_error(answers: list[Any]) -> None:
    async with MockBridgeServer() as server:
        server.set_tools(pb.ToolSpec(name="a"))
        server.set_response("GetSessionTools", *answers)
        async with GRPCToolBridge(server.address, transport="rpc", follow_tools=False) as bridge:
            await bridge.initialize("s")
            with pytest.raises(ProtocolError, match="names a next page"):
                await soon(bridge.client.refresh_tools())
            assert list(bridge.tools) == ["a"]


# -------------------------------------------------------------------------------------------------------- bounds


def test_a_tool_that_is_too_large_is_refused_where_the_hub_is_made() -> None:
    with pytest.raises(
        ValidationError, match=r"tool 'large': its spec has 1,\d\d\d,\d\d\d bytes, the limit is 1,048,576"
    ):
        BridgeServer(tools=[made("large", "x" * 1_100_000)])


def test_tools_that_are_too_many_or_too_large_together_are_refused_where_the_hub_is_made() -> None:
    with pytest.raises(ResourceExhaustedError, match=r"the hub would have 40 tools, the limit is 39 \(max_tools\)"):
        BridgeServer(tools=MANY, settings=Settings(max_tools=39))
    with pytest.raises(ResourceExhaustedError, match=r"the 40 tools of the hub would take .* \(max_tool_bytes\)"):
        BridgeServer(tools=MANY, settings=Settings(max_tool_bytes=50_000))


async def test_the_tools_of_a_session_and_of_all_sessions_are_bounded_and_given_back(connect: Connect) -> None:
    world = await connect(max_session_tool_bytes=50_000, max_tool_bytes=70_000)
    store, registry = world.hub.store, world.hub.registry
    with pytest.raises(ResourceExhaustedError, match=r"\(max_session_tool_bytes\)"):
        registry.register_batch(world.session_id, MANY[:20])
    registry.register_batch(world.session_id, MANY[:9])
    held = store.tool_bytes
    other = await world.attach("other")
    with pytest.raises(ResourceExhaustedError, match=r"all tools of the hub .* \(max_tool_bytes\)"):
        registry.register_batch("other", MANY[:9])
    assert store.tool_bytes == held
    registry.unregister(world.session_id, NAMES[:4])
    registry.register_batch("other", MANY[:4])
    await other.client.cleanup_session(force=True)
    registry.unregister(world.session_id, NAMES)
    assert store.tool_bytes == 0


async def test_two_tools_of_one_name_in_one_request_are_refused() -> None:
    async with BridgeServer() as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        for specs in (
            [pb.ToolSpec(name="a"), pb.ToolSpec(name="a")],
            [pb.ToolSpec(name="a"), pb.ToolSpec(name="b", tool_id="a")],
        ):
            answer = await bridge.client.stub.RegisterTools(pb.RegisterToolsRequest(tools=specs))
            assert answer.error.type == AlreadyExistsError.default_type
            assert answer.error.message.startswith("2 of the tools have the ")
