"""Peers that mean harm: each attack ends in a clear error, soon, and touches nobody else."""

import io
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from fuzz.corpus import CORPUS
from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    ProtocolError,
    SerializationError,
    ValidationError,
    deserialize_value,
    serialize_value,
    tool,
)
from grpc_tool_bridge.cli.consoles import console
from grpc_tool_bridge.cli.failures import CommandError, report
from grpc_tool_bridge.cli.log import LineFormatter
from grpc_tool_bridge.cli.output import print_value
from grpc_tool_bridge.cli.spec_text import default_text
from grpc_tool_bridge.cli.tool_text import tool_facts
from grpc_tool_bridge.config import Settings, load_settings
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.rpc.wireformat import bytes_field
from grpc_tool_bridge.testing import MockBridgeServer
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.transport.status import ERROR_KEY
from support.waiting import soon, until

PREFIX = "type.googleapis.com/"
# Over what gRPC lets wait for a reader that takes nothing.
BLOCK = b"x" * 500_000
# Longer than any text of an error may be.
LONG = "\0" * 1_000_000
MAX_TEXT = 2_000


async def add(a: int, b: int = 0) -> int:
    return a + b


@tool(limits={"max_concurrent_calls": 1})
async def blocks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield BLOCK


def blocks_in_a_thread(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield BLOCK


def in_a_thread() -> int:
    return 1


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    """A hub with few threads; whatever the test did, it still answers another session."""
    settings = Settings(max_threads=2, stream_timeout=0.5)
    async with BridgeServer(tools=[add, blocks, blocks_in_a_thread, in_a_thread], settings=settings) as server:
        yield server
        async with GRPCToolBridge(server.address) as bridge:
            tools = await bridge.initialize("another")
            assert await tools["add"](2, 3) == 5
            assert await tools["in_a_thread"]() == 1


@pytest.fixture
async def channel(server: BridgeServer) -> AsyncIterator[Any]:
    """A channel without the client's own limits, whose session is called "s"."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        stub: Any = SnakepitBridgeStub(channel)
        await stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return SnakepitBridgeStub(channel)


# ------------------------------------------------------------------------------------------------ readers that stall


@pytest.mark.parametrize("name", ["blocks", "blocks_in_a_thread"])
async def test_a_reader_that_stalls_keeps_no_place_and_no_thread(server: BridgeServer, stub: Any, name: str) -> None:
    request = pb.ToolStreamRequest(session_id="s", tool_id=name, args=[serialize_value(1_000)])
    stalled = [stub.StreamTool(request) for _ in range(2)]
    assert (await soon(stalled[0].read())).sequence == 0
    await until(lambda: not server.hub.admission.active and not server.hub.executor.threads_busy)
    # Others get the tool's only place, or a thread, though nobody has left.
    call = pb.ToolCallRequest(session_id="s", tool_id=name, args=[serialize_value(1)])
    assert (await soon(stub.ExecuteTool(call))).success


async def test_a_reader_that_comes_back_too_late_is_told(stub: Any) -> None:
    call = stub.StreamTool(pb.ToolStreamRequest(session_id="s", tool_id="blocks", args=[serialize_value(1_000)]))
    assert (await soon(call.read())).sequence == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # noqa: PT012 - whichever read it is that fails
        # It gets the place that the reader loses.
        await soon(stub.ExecuteTool(pb.ToolCallRequest(session_id="s", tool_id="blocks", args=[serialize_value(1)])))
        while True:
            assert await soon(call.read()) is not grpc.aio.EOF
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "its reader took nothing for 0.5 s" in str(caught.value.details())


# ------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("method", ["ExecuteTool", "InitializeSession", "BatchExecuteTools", "GetSessionInfo"])
async def test_bytes_that_are_no_request_are_the_callers_fault(
    channel: Any, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/dspex.bridge.SnakepitBridge/{method}")(b"\xff\xff\xff")
    _assert_unreadable(caught.value, method)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_bytes_that_ask_for_no_stream_are_the_callers_fault(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_stream("/dspex.bridge.SnakepitBridge/StreamTool")(b"\xff\xff\xff").read()
    _assert_unreadable(caught.value, "StreamTool")


def _assert_unreadable(error: grpc.aio.AioRpcError, method: str) -> None:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"the request of {method} cannot be read" in str(error.details())
    info = pb.ErrorInfo.FromString(dict(error.trailing_metadata() or ())[ERROR_KEY])
    assert info.type == "SerializationError"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("UnregisterTools", pb.UnregisterToolsRequest(session_id="s", tool_ids=[LONG])),
        ("UnregisterTools", pb.UnregisterToolsRequest(session_id="s", tool_ids=["no"] * 200_000)),
        ("SetSessionVariable", pb.SetVariableRequest(session_id="s", variable_name=LONG)),
        (
            "SetSessionVariable",
            pb.SetVariableRequest(
                session_id="s",
                variable_name=LONG,
                value=serialize_value(1),
                create_if_missing=True,
                expected_revision=4,
            ),
        ),
        ("SetSessionVariable", pb.SetVariableRequest(session_id="s", variable_name=LONG * 6, value=serialize_value(1))),
        ("DeleteSessionVariable", pb.DeleteVariableRequest(session_id="s", variable_name=LONG, expected_revision=4)),
        ("CleanupSession", pb.CleanupSessionRequest(session_id=LONG)),
    ],
)
async def test_an_error_never_sends_megabytes_back(stub: Any, method: str, request_: Any) -> None:
    answer = await getattr(stub, method)(request_)
    assert not answer.success
    assert answer.error.type
    assert answer.ByteSize() < 2 * MAX_TEXT


async def test_a_stream_id_of_megabytes_is_refused_and_not_in_every_chunk(stub: Any) -> None:
    request = pb.ToolStreamRequest(session_id="s", tool_id="blocks", args=[serialize_value(3)], stream_id="x" * 100_000)
    chunks = [chunk async for chunk in stub.StreamTool(request)]
    assert [chunk.error.type for chunk in chunks] == ["ValidationError"]
    assert "stream_id has at most 256 characters" in chunks[0].error.message
    assert chunks[0].ByteSize() < MAX_TEXT


async def test_a_sessions_metadata_is_bounded(stub: Any) -> None:
    request = pb.InitializeSessionRequest(session_id="large", metadata={"key": "x" * 70_000})
    answer = await stub.InitializeSession(request)
    assert answer.error.type == "ValidationError"
    assert "metadata has at most 65,536 characters" in answer.error.message


async def test_what_a_writer_says_of_a_variable_counts_as_long_as_it_stays(server: BridgeServer, stub: Any) -> None:
    for metadata in (pb.VariableMetadata(tags={"tag": "x" * 60_000}), pb.VariableMetadata(created_by="me")):
        request = pb.SetVariableRequest(
            session_id="s", variable_name="v", value=serialize_value(1), metadata=metadata, create_if_missing=True
        )
        assert (await stub.SetSessionVariable(request)).success
    variable = server.hub.store.variables("s").get("v")
    assert variable.tags == {"tag": "x" * 60_000}
    assert variable.held > 60_000


async def test_a_list_of_variables_over_the_limit_says_so(stub: Any) -> None:
    for number in range(200):
        request = pb.SetVariableRequest(
            session_id="s",
            variable_name=f"v{number}",
            value=serialize_value(1),
            metadata=pb.VariableMetadata(tags={"tag": "x" * 60_000}),
            create_if_missing=True,
        )
        assert (await stub.SetSessionVariable(request)).success
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListSessionVariables(pb.ListVariablesRequest(session_id="s"))
    assert "message too large: the list of 200 variables" in str(caught.value.details())
    answer = await stub.ListSessionVariables(pb.ListVariablesRequest(session_id="s", limit=1))
    assert [info.name for info in answer.variables] == ["v0"]


async def test_metric_names_are_no_patterns(stub: Any) -> None:
    answer = await stub.GetMetrics(pb.GetMetricsRequest(metric_names=["hub.?pochs", "h*b.epoch", "[a-z]*"]))
    assert not answer.metrics
    answer = await stub.GetMetrics(pb.GetMetricsRequest(metric_names=["hub.active*", "hub.epoch"]))
    assert sorted(answer.metrics) == ["hub.active_calls", "hub.epoch"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetMetrics(pb.GetMetricsRequest(metric_names=[f"{number}*" for number in range(101)]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# ------------------------------------------------------------------------------------------------ values


def _rich(message: pb.RichValue) -> AnyMessage:
    return AnyMessage(type_url=PREFIX + "dspex.bridge.RichValue", value=message.SerializeToString())


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
@pytest.mark.parametrize("leaf", ["big_integer", "uuid"])
def test_keys_chosen_to_have_one_hash_are_refused(kind: str, leaf: str) -> None:
    message = pb.RichValue()
    container = getattr(message, kind)
    for number in range(1, 200):
        collides = number * (2**61 - 1)
        key = str(collides) if leaf == "big_integer" else str(uuid.UUID(int=collides))
        (container.keys if kind == "dict" else container.items).add(**{leaf: key})
        if kind == "dict":
            container.values.add(null=True)
    with pytest.raises(SerializationError, match="have the same hash"):
        deserialize_value(_rich(message))


def test_json_that_is_deep_in_many_places_is_told_from_json_that_is_not() -> None:
    def read(depth: int) -> Any:
        text = b"[" + b",".join([b"[" * depth + b"]" * depth] * 50) + b"]"
        return deserialize_value(AnyMessage(type_url=PREFIX + "dspex.bridge.Json", value=bytes_field(text)))

    assert len(read(99)) == 50
    with pytest.raises(SerializationError, match="nested deeper"):
        read(100)


def test_an_argument_with_very_many_problems_names_the_first_of_them() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    def lengths(numbers: dict[int, int]) -> int:
        return len(numbers)

    with pytest.raises(ValidationError) as caught:
        as_tool(total).bind([["a"] * 20_000], {})
    assert "[0] should be a valid integer, got 'a' (str)" in caught.value.message
    assert caught.value.message.endswith("and 95 more of 20,000")
    with pytest.raises(ValidationError) as caught:
        as_tool(lengths).bind([{f"x{number}": 1 for number in range(2_000)}], {})
    assert ".x0 (the key) should be a valid integer, got 'x0' (str)" in caught.value.message
    assert caught.value.message.endswith("; and at least 251 more")
    with pytest.raises(ValidationError) as caught:
        as_tool(total).bind([[*range(500), *["a"] * 20_000]], {})
    assert caught.value.message == "total: argument 'numbers': has 20,000 problems"


def test_very_many_unknown_arguments_are_not_all_gone_through() -> None:
    with pytest.raises(ValidationError) as caught:
        as_tool(add).bind([], {f"x{number}": 1 for number in range(10_000)})
    assert len(caught.value.details) == 100


# ------------------------------------------------------------------------------------------------ frames


def _frame(table: Any, name: str = "pandas.DataFrame", **options: Any) -> AnyMessage:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return AnyMessage(type_url=PREFIX + name, value=bytes_field(sink.getvalue().to_pybytes()))


FRAMES = ["pandas.DataFrame", "pyarrow.Table", "polars.DataFrame"]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_frame_is_refused_before_it_grows(name: str, codec: str) -> None:
    table = pa.table({"zeros": [0] * 100_000})
    with pytest.raises(SerializationError, match="compressed"):
        deserialize_value(_frame(table, name, compression=codec))
    words = pa.table({"words": pa.array(["a" * 1_000]).dictionary_encode()})
    with pytest.raises(SerializationError, match="compressed"):
        deserialize_value(_frame(words, name, compression=codec))


@pytest.mark.parametrize("name", FRAMES)
def test_rows_that_take_no_bytes_are_bounded(name: str) -> None:
    nulls = pa.table({"nothing": pa.nulls(300_000)})
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([300_000], pa.int32()), pa.array([1.0]))
    for table in (nulls, pa.table({"one": runs}), nulls.select([])):
        with pytest.raises(SerializationError, match="more than 25"):
            deserialize_value(_frame(table, name))
    assert len(deserialize_value(_frame(pa.table({"nothing": pa.nulls(1_000)}), name))) == 1_000


def test_rows_are_bounded_whatever_arrays_their_batch_claims_to_have() -> None:
    # Two arrays of two values, and 8,388,610 rows; made by changing bytes at random.
    sent = (CORPUS / "values" / "frame-of-more-rows-than-arrays").read_bytes()
    with pytest.raises(SerializationError, match="more than 25"):
        deserialize_value(AnyMessage.FromString(sent))


def test_rows_without_columns_are_bounded() -> None:
    rows = pd.DataFrame(index=pd.RangeIndex(200_000))
    assert len(deserialize_value(serialize_value(rows))) == 200_000
    endless = json.dumps({"rows": [0, 10**15, 1, None]}).encode()
    with pytest.raises(SerializationError, match="more than 250,000 items"):
        deserialize_value(_frame(pa.table({}).replace_schema_metadata({b"dspex.bridge": endless})))


def test_frames_of_many_small_values_are_read() -> None:
    table = pa.table({"flag": [True, False] * 1_000, "list": [[1, 2], []] * 1_000, "word": ["a", "b"] * 1_000})
    table = table.set_column(2, "word", table.column(2).dictionary_encode())
    assert deserialize_value(_frame(table)).shape == (2_000, 3)
    assert deserialize_value(_frame(table, "pyarrow.Table")).equals(table)


def test_types_that_share_one_value_among_rows_do_not_reach_pandas() -> None:
    views = pa.array(["text"], pa.string_view())
    inside = pa.array([["text"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))
    for array in (views, inside):
        with pytest.raises(SerializationError, match="cast it"):
            deserialize_value(_frame(pa.table({"column": array})))
        assert deserialize_value(_frame(pa.table({"column": array}), "pyarrow.Table")).num_rows == 1


@pytest.mark.parametrize(
    "notes",
    [
        {"rows": [0, 10**15, 1, None]},
        {"objects": [[0, "none"], [0, "none"]]},
        {"objects": [[1, "none"]]},
    ],
)
def test_notes_that_ask_for_any_amount_of_memory_are_refused(notes: dict[str, Any]) -> None:
    table = pa.table({"number": [1, 2], "word": pa.array(["a", "b"]).dictionary_encode()})
    marked = table.replace_schema_metadata({b"dspex.bridge": json.dumps(notes).encode()})
    with pytest.raises(SerializationError, match="the notes of a frame"):
        deserialize_value(_frame(marked))


# ------------------------------------------------------------------------------------------------ a hub that means harm


@pytest.fixture
async def mock() -> AsyncIterator[MockBridgeServer]:
    async with MockBridgeServer() as mock:
        opened = pb.InitializeSessionResponse(success=True, session_id="s", tools=[pb.ToolSpec(name="tool")])
        mock.set_response("InitializeSession", opened)
        yield mock


@pytest.fixture
async def bridge(mock: MockBridgeServer) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(mock.address, keep_session=True) as bridge:
        await bridge.initialize("s")
        yield bridge


@pytest.mark.parametrize("key", ["progress", "log"])
@pytest.mark.parametrize("garbage", [True, False])
async def test_an_event_that_is_none_breaks_the_protocol(
    mock: MockBridgeServer, bridge: GRPCToolBridge, key: str, garbage: bool
) -> None:
    name = {"progress": "Progress", "log": "LogRecord"}[key]
    value = AnyMessage(type_url=f"{PREFIX}dspex.bridge.{name}", value=b"\xff\xff") if garbage else serialize_value(1)
    event = pb.ToolStreamChunk(metadata=pb.StreamMetadata(key=key, value=value))
    mock.set_streaming_response("StreamTool", [event])
    seen: list[Any] = []
    with pytest.raises(ProtocolError, match=f"has an invalid '{key}' event"):
        await bridge.tools["tool"].with_options(on_progress=seen.append, on_log=seen.append)()
    assert not seen


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
async def test_a_change_at_an_impossible_time_breaks_the_protocol(
    mock: MockBridgeServer, bridge: GRPCToolBridge, seconds: int
) -> None:
    update = pb.VariableUpdate(
        name="v", operation="set", value=serialize_value(1), timestamp=Timestamp(seconds=seconds)
    )
    mock.set_streaming_response("WatchSessionVariables", [update])
    with pytest.raises(ProtocolError, match="has an invalid timestamp"):
        await anext(bridge.session_context.watch_variables())


# ------------------------------------------------------------------------------------------------ a terminal

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202eback\r"


@pytest.mark.parametrize("value", [HOSTILE, [{HOSTILE: HOSTILE}]], ids=["text", "table"])
def test_what_a_tool_returns_gives_a_terminal_no_orders(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(screen, "isatty", lambda: True)
    print_value(value, console())
    shown = screen.getvalue()
    assert "\\x1b[31mred\\x1b]0;title\\x07\\x9b2J\\u202eback\\r" in shown
    assert not [mark for mark in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e", "\r") if mark in shown]


def test_text_goes_into_a_pipe_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_value(HOSTILE)
    assert capsys.readouterr().out == HOSTILE + "\n"


def test_a_traceback_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(CommandError("failed", traceback=f"Traceback\n  {HOSTILE}")) == 1
    error = capsys.readouterr().err
    assert "Traceback\n  \\x1b[31mred" in error
    assert "\x1b" not in error


def test_a_peers_text_cannot_look_like_another_line_of_the_log() -> None:
    record = logging.LogRecord("tool", logging.INFO, "", 0, f"said\n2026-01-01 INFO {HOSTILE}", None, None)
    line = LineFormatter("%(levelname)s %(message)s").format(record)
    assert line.startswith("INFO said\\n2026-01-01 INFO \\x1b[31mred")
    assert "\n" not in line


def test_a_tool_of_an_unknown_type_and_an_endless_default_is_described() -> None:
    spec = pb.ToolSpec(name="x" * MAX_NAME_CHARS, type=99)  # type: ignore[arg-type]  # what a newer peer may send
    argument = spec.arguments.add(name="a", default_value=serialize_value(10**5_000))
    assert tool_facts(spec)["type"] == "99"
    assert default_text(argument) == "…"


@pytest.mark.parametrize("content", [b"a = " + b"[" * 100_000, b"\xff\xfe", b"a = "], ids=["deep", "binary", "cut"])
def test_a_settings_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "hub.toml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"hub\.toml is not valid TOML"):
        load_settings({}, file)
