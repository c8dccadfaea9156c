"""Bad input: each with a clear error, and nothing lost, over every transport."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge import (
    AlreadyExistsError,
    BridgeServer,
    NotFoundError,
    SerializationError,
    SessionError,
    SessionExpiredError,
    SessionNotFoundError,
    ToolExecutionError,
    ValidationError,
    serialize_value,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.connections import Connect, World


async def add(a: int, b: int = 0) -> int:
    return a + b


async def echo(value: Any) -> Any:
    return value


async def count(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


@pytest.fixture
async def world(connect: Connect) -> AsyncIterator[World]:
    """A hub with three tools; whatever the test did, its session and the next call still work."""
    world = await connect(add, echo, count)
    await world.variables.set_variable("kept", "safe")
    yield world
    assert await world.tools["add"](2, 3) == 5
    assert [value async for value in world.tools["count"].stream(2)] == [0, 1]
    assert await world.variables.get_variable("kept") == "safe"
    await world.quiet()


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


# ------------------------------------------------------------------------------------------------ what is not there


USES: dict[str, Callable[[World], Awaitable[Any]]] = {
    "get": lambda world: world.variables.get_variable("x"),
    "set": lambda world: world.variables.set_variable("x", 1),
    "delete": lambda world: world.variables.delete_variable("x"),
    "list": lambda world: world.variables.list_variables(),
    "watch": lambda world: anext(world.variables.watch_variables("x")),
    "info": lambda world: world.bridge.client.session_info(),
    "tools": lambda world: world.bridge.client.refresh_tools(),
    "cleanup": lambda world: world.bridge.client.cleanup_session(),
    "call": lambda world: world.bridge.call_tool("add", 1, 2),
    "stream": lambda world: anext(world.bridge.stream_tool("count", 1)),
    "batch": lambda world: _first_of_batch(world),  # noqa: PLW0108 - it stands below
}


async def _first_of_batch(world: World) -> Any:
    (result,) = await world.bridge.execute_batch([{"tool_id": "add", "args": [1]}])
    raise result


@pytest.mark.parametrize("use", USES)
async def test_an_unknown_session_is_named_and_says_to_open_one(world: World, use: str) -> None:
    mine = world.bridge.client.session_id
    world.bridge.client.session_id = "nobody's"
    with pytest.raises((SessionNotFoundError, ToolExecutionError)) as caught:
        await USES[use](world)
    world.bridge.client.session_id = mine
    assert caught.value.error_type == "SessionNotFound"
    assert "nobody's" in caught.value.message
    assert "InitializeSession" in caught.value.message


@pytest.mark.parametrize("use", USES)
async def test_a_removed_session_says_that_it_has_ended(world: World, use: str) -> None:
    removed = await world.attach("removed")
    await removed.close()
    mine = world.bridge.client.session_id
    world.bridge.client.session_id = "removed"
    with pytest.raises((SessionExpiredError, ToolExecutionError)) as caught:
        await USES[use](world)
    world.bridge.client.session_id = mine
    assert caught.value.error_type == "SessionExpired"
    assert "removed" in caught.value.message
    assert "start a new one" in caught.value.message


@pytest.mark.parametrize("way", ["call", "stream", "batch"])
async def test_an_unknown_tool_is_named_with_what_may_be_meant(world: World, way: str) -> None:
    async def use() -> None:
        if way == "call":
            await world.bridge.call_tool("ad", 1)
        elif way == "stream":
            await anext(world.bridge.stream_tool("ad", 1))
        else:
            raise (await world.bridge.execute_batch([{"tool_id": "ad"}]))[0]

    with pytest.raises(ToolExecutionError) as caught:
        await use()
    assert (caught.value.tool_name, caught.value.error_type) == ("ad", "ToolNotFound")
    assert "did you mean add" in caught.value.message
    assert not caught.value.retryable


async def test_a_name_that_no_variable_can_have_is_refused_in_a_short_text(world: World) -> None:
    name = "x" * 20_000
    for asking in (world.variables.get_variable(name, None), world.variables.delete_variable(name)):
        with pytest.raises(
            ValidationError, match="variable_name has at most 256 characters; this one has 20,000"
        ) as caught:
            await asking
        assert len(caught.value.message) < 300


@pytest.mark.parametrize("name", ["missing", "", "x" * 256, "new\nline"])
async def test_an_unknown_variable_is_named_in_a_short_text(world: World, name: str) -> None:
    with pytest.raises(NotFoundError) as reading:
        await world.variables.get_variable(name)
    with pytest.raises(NotFoundError) as deleting:
        await world.variables.delete_variable(name)
    for caught in (reading, deleting):
        assert caught.value.error_type == "VariableNotFound"
        assert not isinstance(caught.value, SessionError)
        assert repr(name[:60])[:50] in caught.value.message
        assert len(caught.value.message) < 1_000


async def test_an_unknown_variable_gives_the_default_where_there_is_one(world: World) -> None:
    assert await world.variables.get_variable("missing", None) is None
    assert await world.variables.get_variable("missing", 7) == 7


# -------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        ([], {}, {"a": "missing"}),
        (["one"], {}, {"a": "one"}),
        ([1], {"c": 2}, {"c": "unknown"}),
        ([1], {"a": 2}, {"a": "twice"}),
        ([1, 2, 3], {}, {"*": "at most 2"}),
        (["one"], {"b": "two", "c": 3}, {"a": "one", "b": "two", "c": "unknown"}),
        ([1.5], {}, {"a": "1.5"}),
        ([None], {}, {"a": "None"}),
        ([True], {}, {"a": "True"}),
    ],
)
async def test_wrong_arguments_are_each_named_with_what_is_wrong(
    world: World, args: list[Any], kwargs: dict[str, Any], problems: dict[str, str]
) -> None:
    with pytest.raises(ToolExecutionError) as caught:
        await world.bridge.call_tool("add", args=args, kwargs=kwargs)
    error = caught.value
    assert error.error_type == "ValidationError"
    assert error.details["origin"] == "bridge"
    assert set(error.details) - {"origin"} == set(problems)
    for name, text in problems.items():
        assert text in error.details[name]
        assert text in error.message


async def test_a_wrong_argument_of_a_stream_is_its_only_chunk(world: World) -> None:
    with pytest.raises(ToolExecutionError, match="limit"):
        await anext(world.tools["count"].stream("many"))


@pytest.mark.parametrize("way", ["argument", "by name", "variable"])
async def test_a_nesting_of_1000_is_refused_before_it_is_sent(world: World, way: str) -> None:
    deep = _nested(1_000)
    sends = {
        "variable": lambda: world.variables.set_variable("deep", deep),
        "argument": lambda: world.tools["echo"](deep),
        "by name": lambda: world.tools["echo"](value=deep),
    }
    with pytest.raises(SerializationError) as caught:
        await sends[way]()
    assert "100" in caught.value.message
    if way != "variable":
        assert "echo" in caught.value.message


def _any(type_url: str, value: bytes) -> AnyMessage:
    return AnyMessage(type_url=type_url, value=value)


BROKEN = {
    "unknown type URL": (_any("type.googleapis.com/who.Knows", b""), "who.Knows"),
    "no type URL": (_any("", b"abc"), ""),
    "truncated text": (_any("type.googleapis.com/google.protobuf.StringValue", b"\x0a\x7fabc"), ""),
    "truncated JSON": (_any("type.googleapis.com/dspex.bridge.Json", b"\x0a\x05[1, 2"), ""),
    "truncated rich value": (_any("type.googleapis.com/dspex.bridge.RichValue", b"\x42\x09\x0a"), ""),
    "truncated frame": (_any("type.googleapis.com/pandas.DataFrame", b"\x0a\x04ARRO"), ""),
    "array of a wrong size": (
        _any(
            "type.googleapis.com/dspex.bridge.Tensor",
            pb.Tensor(dtype="<f8", shape=[2, 2], data=b"short").SerializeToString(),
        ),
        "",
    ),
    "array of objects": (
        _any(
            "type.googleapis.com/dspex.bridge.Tensor",
            pb.Tensor(dtype="|O", shape=[1], data=b"12345678").SerializeToString(),
        ),
        "",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("where", ["args", "kwargs"])
async def test_a_broken_value_is_refused_and_its_argument_named(world: World, what: str, where: str) -> None:
    message, text = BROKEN[what]
    request = pb.ToolCallRequest(session_id=world.session_id, tool_id="echo")
    if where == "args":
        request.args.append(message)
    else:
        request.kwargs["value"].CopyFrom(message)
    response = await world.bridge.client.stub.ExecuteTool(request)
    assert not response.success
    assert response.error.type == "SerializationError"
    assert ("argument 0" if where == "args" else "argument 'value'") in response.error.message
    assert text in response.error.message


async def test_a_broken_variable_is_kept_as_it_is_and_refused_by_its_reader(world: World) -> None:
    request = pb.SetVariableRequest(
        session_id=world.session_id,
        variable_name="strange",
        value=_any("type.googleapis.com/who.Knows", b"\x01"),
        create_if_missing=True,
    )
    await world.bridge.client.call("SetSessionVariable", request)
    with pytest.raises(SerializationError, match=r"who\.Knows"):
        await world.variables.get_variable("strange")
    await world.variables.set_variable("strange", "mended")
    assert await world.variables.get_variable("strange") == "mended"


async def test_a_set_request_without_a_value_is_refused(world: World) -> None:
    request = pb.SetVariableRequest(session_id=world.session_id, variable_name="x", create_if_missing=True)
    with pytest.raises(ValidationError, match="no value"):
        await world.bridge.client.call("SetSessionVariable", request)


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("session_id", "text"),
    [("x" * 10_000, "10,000"), ("bell\a", "U+0007"), ("line\nbreak", "U+000A"), ("\u202eback", "U+202E")],
)
async def test_a_session_id_that_nobody_could_read_is_refused(world: World, session_id: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        await world.attach(session_id)
    assert text in caught.value.message
    assert "256" in caught.value.message or "printable" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "a variable's name must have 1 to 256"),
        ("x" * 10_000, "variable_name has at most 256"),
        ("tab\t", "a variable's name must have only printable"),
    ],
)
async def test_a_variable_name_that_nobody_could_read_is_refused(world: World, name: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        await world.variables.set_variable(name, 1)


@pytest.mark.parametrize("field", ["max_concurrent_tools", "default_timeout_ms"])
async def test_a_negative_limit_of_a_session_is_refused(world: World, field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        await world.attach(config=pb.SessionConfig(**{field: -1}))  # type: ignore[arg-type]  # both fields are numbers


async def test_two_tools_of_one_name_are_refused_and_none_is_added(world: World) -> None:
    registry, session_id = world.hub.registry, world.session_id
    with pytest.raises(AlreadyExistsError, match="add"):
        registry.register_batch("", [add])
    with pytest.raises(AlreadyExistsError, match="'other'"):
        registry.register_batch(session_id, [pb.ToolSpec(name="other"), pb.ToolSpec(name="other")])
    assert set(await world.bridge.client.refresh_tools()) == {"add", "echo", "count"}


def test_a_hub_with_two_tools_of_one_name_is_refused() -> None:
    with pytest.raises(AlreadyExistsError, match="'add'"):
        BridgeServer(tools=[add, add])


async def test_a_negative_number_of_variables_is_refused(world: World) -> None:
    with pytest.raises(ValidationError, match="limit"):
        await world.variables.list_variables(limit=-1)


async def test_tools_are_registered_over_a_link_only_and_the_answer_says_so(world: World) -> None:
    request = pb.RegisterToolsRequest(session_id=world.session_id, tools=[pb.ToolSpec(name="mine")])
    if world.has_link:
        await world.bridge.client.call("RegisterTools", request)
        assert "mine" in await world.bridge.client.refresh_tools()
        return
    with pytest.raises(ValidationError, match="link"):
        await world.bridge.client.call("RegisterTools", request)
    assert "mine" not in await world.bridge.client.refresh_tools()


async def test_unregistering_what_is_not_there_removes_nothing(world: World) -> None:
    session_id = world.session_id
    world.hub.registry.register_batch(session_id, [pb.ToolSpec(name="mine")])
    request = pb.UnregisterToolsRequest(session_id=session_id, tool_ids=["mine", "yours"])
    with pytest.raises(NotFoundError, match="yours"):
        await world.bridge.client.call("UnregisterTools", request)
    assert "mine" in await world.bridge.client.refresh_tools()
    request = pb.UnregisterToolsRequest(session_id=session_id, tool_ids=["mine"])
    await world.bridge.client.call("UnregisterTools", request)
    assert "mine" not in await world.bridge.client.refresh_tools()


async def test_a_tool_that_nobody_runs_is_unavailable(world: World) -> None:
    world.hub.registry.register_batch(world.session_id, [pb.ToolSpec(name="elsewhere")])
    await world.bridge.client.refresh_tools()
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["elsewhere"]()
    assert caught.value.error_type == "WorkerUnavailable"
    assert caught.value.retryable


async def test_a_value_is_told_by_its_argument_where_it_cannot_be_sent(world: World) -> None:
    around: list[Any] = []
    around.append(around)
    with pytest.raises(SerializationError, match="add: argument 0"):
        await world.tools["add"](around)
    with pytest.raises(SerializationError, match="add: argument 'b'"):
        await world.tools["add"](1, b=around)


async def test_a_batch_with_a_negative_width_is_refused(world: World) -> None:
    with pytest.raises(ValidationError, match="max_parallel"):
        await world.bridge.execute_batch([{"tool_id": "add", "args": [1]}], max_parallel=-1)


def test_what_is_sent_as_text_is_text() -> None:
    assert serialize_value("x").type_url.endswith("StringValue")
