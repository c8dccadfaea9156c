"""Tools of MCP servers over gRPC as tools of a hub."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages
from pydantic import SecretStr

from grpc_tool_bridge import (
    Audio,
    BridgeServer,
    GRPCToolBridge,
    Image,
    Resource,
    ResourceLink,
    Settings,
    ToolExecutionError,
    tool,
)
from grpc_tool_bridge.adapters.mcp import Bounds, McpServer, import_mcp
from grpc_tool_bridge.errors import ProtocolError, UnavailableError, ValidationError
from grpc_tool_bridge.llm.tool_marks import tags_of
from grpc_tool_bridge.tools.media import media_of
from grpc_tool_bridge.tools.tool import Tool
from integration import mcp_round_trip_tools as round_trip_tools
from integration.mcp_grpc_peers import Server, answer_of, serving, tool_message
from support.certificates import certificate_files
from support.waiting import soon, until

PICTURE = b"\x89PNG\x00\xff"
OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes an import try again after short pauses that do not grow, and look at the list once."""
    monkeypatch.setattr("grpc_tool_bridge.adapters.mcp.server.back_off", lambda: itertools.repeat(0.05))
    look_every(3_600, monkeypatch)


def look_every(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.adapters.mcp.grpc_connection.LOOK_SECONDS", seconds)


@pytest.fixture
def curious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes an import look at the list again and again."""
    look_every(0.05, monkeypatch)


def source_of(server: Any, **options: Any) -> McpServer:
    return import_mcp(f"grpc://{server.address}", name="far", **options)


@asynccontextmanager
async def bridge_of(*sources: McpServer) -> AsyncIterator[GRPCToolBridge]:
    async with BridgeServer(sources=sources) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        yield bridge


async def refused(call: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await soon(call)
    return caught.value


# --------------------------------------------------------------------------------------------------- another bridge


@tool(tags=["math"])
async def add(a: int, b: float = 1) -> int:
    """Adds."""
    return a + int(b)


@tool(idempotent=True, metadata={"mcp.title": "Whole", "mcp.annotations": '{"destructiveHint": false}'})
async def look() -> None:
    """Looks."""


@tool
async def whole_float() -> float:
    return 3.0


@tool
async def huge() -> dict[str, int]:
    return {"n": 2**60 + 1}


@tool
async def ordered() -> dict[str, int]:
    return dict.fromkeys("zaybxc", 1)


@tool
async def echo(value: dict[str, Any]) -> dict[str, Any]:
    return value


@tool
async def media() -> Any:
    return [
        "a text",
        Image(PICTURE, "image/png"),
        Audio(PICTURE, "audio/wav"),
        Resource("file:///a", "A", "text/plain"),
        Resource("file:///c", PICTURE, "image/png"),
        ResourceLink("file:///b", "b", "text/plain", "B"),
    ]


@tool
async def fail() -> str:
    raise LookupError("no bread")


@asynccontextmanager
async def round_trip() -> AsyncIterator[GRPCToolBridge]:
    tools = [add, look, whole_float, huge, ordered, echo, media, fail]
    async with BridgeServer(tools=tools, mcp_grpc=True) as far, bridge_of(source_of(far)) as bridge:
        yield bridge


async def test_the_tools_of_another_bridge_come_with_their_meaning() -> None:
    async with round_trip() as bridge:
        spec = bridge.tools["far.add"].spec
        assert spec.description == "Adds."
        assert [(item.name, item.python_type, item.required) for item in spec.arguments] == [
            ("a", "int", True),
            ("b", "float", False),
        ]
        assert spec.output_schema == '{"type":"integer"}'
        assert tags_of(spec) == ("math",)
        spec = bridge.tools["far.look"].spec
        assert spec.idempotent
        assert spec.metadata["mcp.title"] == "Whole"
        assert '"destructiveHint": false' in spec.metadata["mcp.annotations"]


async def test_all_values_arrive_as_over_any_other_transport() -> None:
    tools = [item for item in vars(round_trip_tools).values() if isinstance(item, Tool)]
    wrong = {}
    async with BridgeServer(tools=tools, mcp_grpc=True) as far, bridge_of(source_of(far)) as bridge:
        for name, case in round_trip_tools.CASES.items():
            value = await soon(bridge.tools[f"far.{name}"]())
            if (type(value), value) != (type(case.expected), case.expected):
                wrong[name] = value
    assert wrong == {}


async def test_values_go_and_come_exactly() -> None:
    async with round_trip() as bridge:
        tools = bridge.tools
        assert await soon(tools["far.add"](a=2, b=3)) == 5
        whole = await soon(tools["far.whole_float"]())
        assert (whole, type(whole)) == (3.0, float)
        assert await soon(tools["far.huge"]()) == {"n": 2**60 + 1}
        assert list(await soon(tools["far.ordered"]())) == list("zaybxc")
        value = {"z": "ä", "list": [1, 2.5, None, True], "deep": {"b": {}, "a": []}}
        back = await soon(tools["far.echo"](value=value))
        assert back == value
        text, *others = await soon(tools["far.media"]())
        assert text == "a text"
        assert [media_of(other) for other in others] == [
            Image(PICTURE, "image/png"),
            Audio(PICTURE, "audio/wav"),
            Resource("file:///a", "A", "text/plain"),
            Resource("file:///c", PICTURE, "image/png"),
            ResourceLink("file:///b", "b", "text/plain", "B"),
        ]


async def test_errors_of_another_bridge_keep_type_and_text() -> None:
    async with round_trip() as bridge:
        error = await refused(bridge.tools["far.fail"]())
        assert (error.error_type, error.message) == ("LookupError", "no bread")
        assert error.details == {"origin": "tool", "server": "far"}


async def test_an_argument_that_a_struct_cannot_hold_is_named() -> None:
    async with round_trip() as bridge:
        error = await refused(bridge.tools["far.echo"](value={"list": [2**60]}))
        assert error.error_type == "ValidationError"
        assert "value.list[0]" in error.message
        deep: Any = 1
        for _ in range(40):
            deep = {"a": deep}
        error = await refused(bridge.tools["far.echo"](value=deep))
        assert "levels" in error.message


async def test_a_token_is_sent_as_a_header_and_its_want_is_an_error_of_the_start() -> None:
    settings = Settings(mcp_grpc=True, token=SecretStr("opensesame"))
    async with BridgeServer(tools=[add], settings=settings) as far:
        headers = {"Authorization": "Bearer opensesame"}
        async with bridge_of(source_of(far, headers=headers)) as bridge:
            assert await soon(bridge.tools["far.add"](a=1)) == 2
        with pytest.raises(UnavailableError, match="give a token as a header"):
            await source_of(far).__aenter__()


async def test_tls_is_used_for_grpcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = certificate_files(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(files["ca"]))
    settings = Settings(mcp_grpc=True, tls_cert=files["cert"], tls_key=files["key"])
    far = BridgeServer(tools=[add], settings=settings)
    async with far, bridge_of(import_mcp(f"grpcs://{far.address}", name="far")) as bridge:
        assert await soon(bridge.tools["far.add"](a=1)) == 2


async def test_a_hub_that_serves_no_mcp_over_grpc_is_an_error_that_says_how() -> None:
    async with BridgeServer(tools=[add]) as far:
        with pytest.raises(UnavailableError, match="--mcp-grpc"):
            await source_of(far).__aenter__()


async def test_a_cancelled_call_and_a_deadline_cancel_it_at_the_server() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def wait(_: Any, context: Any) -> Any:
        told.put_nowait("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.put_nowait("cancelled")
            raise

    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.on_call = wait
        call = asyncio.ensure_future(bridge.tools["far.one"]())
        assert await soon(told.get()) == "began"
        call.cancel()
        assert await soon(told.get()) == "cancelled"
        error = await refused(bridge.tools["far.one"].with_options(timeout=0.3)())
        assert error.error_type == "TimeoutError"
        assert [await soon(told.get()), await soon(told.get())] == ["began", "cancelled"]


# --------------------------------------------------------------------------------------------------- any other server


async def test_a_request_says_what_proxies_need() -> None:
    async with serving() as server:
        server.tools = [tool_message("näme")]
        async with bridge_of(source_of(server, headers={"X-Key": "k"})) as bridge:
            assert server.metadata["x-key"] == "k"
            assert server.metadata["mcp-protocol-version"] == "2026-07-28"
            assert await soon(bridge.tools["far.n_me"]()) == "from näme"
            assert server.metadata["mcp_tool"] == "n%C3%A4me"


async def test_an_older_version_that_a_server_asks_for_is_used() -> None:
    async def only_older(context: Any) -> None:
        if dict(context.invocation_metadata())["mcp-protocol-version"] != "2025-11-25":
            await context.send_initial_metadata((("mcp-protocol-version", "2025-11-25"),))
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not this one")

    async with serving() as server:
        server.on_list = only_older
        async with bridge_of(source_of(server)) as bridge:
            assert await soon(bridge.tools["far.one"]()) == "from one"
            assert server.metadata["mcp-protocol-version"] == "2025-11-25"


async def test_hints_that_are_true_are_kept() -> None:
    async with serving() as server:
        hints = messages.ToolAnnotations(read_only_hint=True, idempotent_hint=True, title="First")
        server.tools = [tool_message("one", annotations=hints)]
        async with bridge_of(source_of(server)) as bridge:
            spec = bridge.tools["far.one"].spec
            assert spec.idempotent
            assert '"readOnlyHint": true' in spec.metadata["mcp.annotations"]
            assert "destructiveHint" not in spec.metadata["mcp.annotations"]


async def test_a_list_that_has_not_changed_changes_no_tool(curious: None) -> None:
    async with serving() as server, source_of(server) as source:
        (first,) = source.tools
        seen = server.listed
        await until(lambda: server.listed > seen + 2, "for two more looks")
        assert len(source.tools) == 1
        assert source.tools[0] is first


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (answer_of(), None),
        (answer_of("a"), "a"),
        (answer_of("a", "b"), ["a", "b"]),
        (answer_of("a", structured={"n": 1}), {"n": 1}),
        (answer_of('{"n": 1.0}', structured={"n": 1}), {"n": 1.0}),
        (answer_of('{"n": true}', structured={"n": 1}), {"n": 1}),
        (answer_of('{"n": 2}', structured={"n": 1}), {"n": 1}),
    ],
)
async def test_answers_become_values(answer: Any, value: Any) -> None:
    async def on_call(_: Any, __: Any) -> Any:
        return answer

    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.on_call = on_call
        assert repr(await soon(bridge.tools["far.one"]())) == repr(value)


async def test_a_text_stands_for_declared_content_that_a_struct_cannot_hold() -> None:
    async def on_call(_: Any, __: Any) -> Any:
        return answer_of('{"n": 1152921504606846977}')

    async with serving() as server:
        server.tools, server.on_call = [tool_message("one", OBJECT)], on_call
        async with bridge_of(source_of(server)) as bridge:
            assert await soon(bridge.tools["far.one"]()) == {"n": 2**60 + 1}


async def test_errors_are_read() -> None:
    async def on_call(_: Any, __: Any) -> Any:
        return answer_of("it is", "broken", is_error=True)

    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.on_call = on_call
        error = await refused(bridge.tools["far.one"]())
        assert (error.error_type, error.message) == ("McpToolError", "it is\nbroken")


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "ValidationError", False),
        (grpc.StatusCode.NOT_FOUND, "ToolNotFound", False),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied", False),
        (grpc.StatusCode.UNAVAILABLE, "WorkerUnavailable", True),
        (grpc.StatusCode.INTERNAL, "McpError", False),
    ],
)
async def test_a_status_is_an_error_of_its_type(code: Any, kind: str, retryable: bool) -> None:
    async def on_call(_: Any, context: Any) -> Any:
        await context.abort(code, "so it is\nreally")

    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.on_call = on_call
        error = await refused(bridge.tools["far.one"]())
        assert (error.error_type, error.retryable) == (kind, retryable)
        assert "so it isreally" in error.message
        assert "far" in error.message


# --------------------------------------------------------------------------------------------------------- its life


async def test_new_tools_appear_while_it_runs(curious: None) -> None:
    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.tools = [tool_message("one"), tool_message("later")]
        await until(lambda: "far.later" in bridge.tools, "for the new tool")
        assert await soon(bridge.tools["far.later"]()) == "from later"
        server.tools = [tool_message("later")]
        await until(lambda: "far.one" not in bridge.tools, "for the old tool to go")


async def test_a_tool_that_is_not_found_has_the_list_read_again(impatient: None) -> None:
    async def on_call(_: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    async with serving() as server, bridge_of(source_of(server)) as bridge:
        server.tools, server.on_call = [tool_message("other")], on_call
        await refused(bridge.tools["far.one"]())
        await until(lambda: "far.other" in bridge.tools, "for the list to be read again")


async def test_a_server_that_is_away_is_tried_again_and_its_tools_are_gone_meanwhile(impatient: None) -> None:
    async with serving() as server:
        address = server.address
        async with bridge_of(source_of(server)) as bridge:
            assert await soon(bridge.tools["far.one"]()) == "from one"
            await server.stop()
            await until(lambda: "far.one" not in bridge.tools, "for its tools to be gone")
            again = Server()
            await again.start(address)
            try:
                await until(lambda: "far.one" in bridge.tools, "for its tools to be back")
                assert await soon(bridge.tools["far.one"]()) == "from one"
            finally:
                await again.stop()


async def test_a_server_that_is_not_there_yet_is_waited_for(impatient: None) -> None:
    async with serving() as server:
        address = server.address
    async with bridge_of(import_mcp(f"grpc://{address}", name="far")) as bridge:
        assert not bridge.tools
        server = Server()
        await server.start(address)
        try:
            await until(lambda: "far.one" in bridge.tools, "for its tools")
        finally:
            await server.stop()


async def test_nothing_is_left_of_a_source() -> None:
    async with serving() as server:
        # gRPC's own tasks of a server come and go with its requests.
        before = {task.get_name() for task in asyncio.all_tasks()}
        async with source_of(server) as source:
            assert [item.spec.name for item in source.tools] == ["far.one"]
            assert _named("MCP server") - before
        await until(lambda: not _named("MCP server") - before)


def _named(part: str) -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if part in task.get_name()}


# ---------------------------------------------------------------------------------------------------------- hostile


async def value_from(server: Server, answer: Any, bounds: Bounds | None = None) -> ToolExecutionError:
    async def on_call(_: Any, __: Any) -> Any:
        return answer

    server.on_call = on_call
    async with bridge_of(source_of(server, bounds=bounds)) as bridge:
        return await refused(bridge.tools["far.one"]())


async def test_an_answer_that_is_too_large_is_refused() -> None:
    async with serving() as server:
        error = await value_from(server, answer_of("x" * 3_000_000), Bounds(message_bytes=2_000_000))
        assert error.error_type == "MessageTooLarge"
        error = await value_from(server, answer_of("x" * 30_000), Bounds(message_bytes=20_000))
        assert error.error_type == "MessageTooLarge"
        many = answer_of("a", structured={"n": [0] * 2_000})
        error = await value_from(server, many, Bounds(containers=1_000))
        assert "over 1,000 parts" in error.message


async def test_an_answer_that_is_none_is_refused() -> None:
    empty, both, unset = answer_of(), answer_of("a"), answer_of()
    empty.content.add()
    both.content[0].image.data = b"a"
    unset.structured_content.fields["n"].SetInParent()
    asks = answer_of()
    asks.common.result_type = messages.RESULT_TYPE_INPUT_REQUIRED
    deep = messages.CallToolResponse()
    value = deep.structured_content.fields["a"]
    for _ in range(40):
        value = value.struct_value.fields["a"]
    value.bool_value = True
    async with serving() as server:
        for answer, text in (
            (b"\xff\xff\xff", "not valid"),
            (deep.SerializeToString(), "not valid"),
            (empty, "nothing that is known"),
            (both, "text and image"),
            (unset, "no kind"),
            (asks, "asks a question"),
        ):
            error = await value_from(server, answer)
            assert text in error.message
            assert error.error_type in ("ProtocolError", "Unimplemented")


async def test_structured_content_that_lies_is_refused() -> None:
    async with serving() as server:
        server.tools = [tool_message("one", OBJECT)]
        for answer in (
            answer_of("a", structured={"n": "1"}),
            answer_of("a"),
            answer_of('{"n": "1"}'),
            answer_of("[1]"),
        ):
            error = await value_from(server, answer)
            assert error.error_type == "ValidationError"


async def test_a_list_that_is_too_large_or_none_is_an_error_of_the_start() -> None:
    async with serving() as server:
        server.tools = [tool_message(f"t{number}") for number in range(20)]
        with pytest.raises(ProtocolError, match="over 10 tools"):
            await source_of(server, bounds=Bounds(tools=10)).__aenter__()
        with pytest.raises(ProtocolError, match="over 100 bytes"):
            await source_of(server, bounds=Bounds(list_bytes=100)).__aenter__()
        server.tools = b"\xff\xff"
        with pytest.raises(ProtocolError, match="not valid"):
            await source_of(server).__aenter__()


async def test_one_bad_tool_costs_only_itself() -> None:
    bad = tool_message("bad")
    bad.input_schema.fields["properties"].SetInParent()
    async with serving() as server:
        server.tools = [bad, tool_message(""), tool_message("one"), tool_message("one")]
        async with bridge_of(source_of(server)) as bridge:
            assert list(bridge.tools) == ["far.one"]


async def test_a_server_that_hangs_is_given_up() -> None:
    async def hang(_: Any) -> None:
        await asyncio.Event().wait()

    async with serving() as server:
        server.on_list = hang
        with pytest.raises(UnavailableError, match="did not give its tools"):
            await source_of(server, bounds=Bounds(start_seconds=0.3)).__aenter__()
        async with bridge_of(source_of(server, bounds=Bounds(request_seconds=0.3))) as bridge:
            assert not bridge.tools


@pytest.mark.parametrize(
    ("address", "options", "text"),
    [
        ("grpc://host", {}, "grpcs://HOST:PORT"),
        ("grpc://host:1/path", {}, "grpcs://HOST:PORT"),
        ("grpcs://me:secret@host:1", {}, "grpcs://HOST:PORT"),
        ("grpc://host:99999", {}, "grpcs://HOST:PORT"),
        ("grpc://host:1", {"headers": {"grpc-timeout": "1"}}, "cannot be metadata"),
        ("grpc://host:1", {"headers": {"x-bin": "1"}}, "cannot be metadata"),
        ("grpc://host:1", {"headers": {"a": "\n"}}, "printable"),
        ("grpc://host:1", {"cwd": "/"}, "cwd"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        import_mcp(address, **options)
    assert "secret" not in str(caught.value)
