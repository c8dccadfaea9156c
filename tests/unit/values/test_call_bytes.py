"""Requests and answers of usual calls: what is written and read by hand is what protobuf writes and reads."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets.call_bytes import alike, check_answer, check_request, check_success, check_written
from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ExecutionMetrics,
    ToolCallRequest,
    ToolCallResponse,
)
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, varint
from grpc_tool_bridge.values.call_bytes import (
    UNREAD,
    UNREADABLE,
    arguments_of,
    is_success,
    packed_scalar,
    read_arguments,
    read_names,
    read_success,
    read_types,
    request_head,
    request_tail,
    success_of,
)
from grpc_tool_bridge.values.scalars import SCALARS
from grpc_tool_bridge.values.serialization import serialize_value
from support.soak import examples

INT_URL = f"{TYPE_PREFIX}google.protobuf.Int64Value"

SCALAR_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([sign * 2**power + more for sign in (1, -1) for power in (7, 14, 21, 63) for more in (-1, 0, 1)]),
    st.floats(),
    st.text(max_size=200),
    st.binary(max_size=200),
    st.integers(50, 300).map(lambda length: "x" * length),
    st.integers(16_280, 16_390).map(lambda length: b"x" * length),
)
NAMES = st.text(max_size=140)
IDS = st.one_of(st.just("s"), st.text(max_size=140))
TIMEOUTS = st.one_of(st.just(0), st.integers(0, 2**31 - 1))
ARGUMENTS = st.lists(SCALAR_VALUES, max_size=4)
NAMED = st.dictionaries(NAMES, SCALAR_VALUES, max_size=3)


def read(data: bytes) -> Any:
    """Reads a whole request."""
    session_id, tool_id, place = read_names(data)
    return session_id, tool_id, *read_arguments(data, place)


class TestRequests:
    def test_one_is_written_and_read(self) -> None:
        arguments = arguments_of([1, "two"], {"c": None})
        assert arguments is not None
        data = request_head("s", "t") + arguments + request_tail(30_000)
        assert read(data) == ("s", "t", [1, "two"], {"c": None}, 30_000)
        _, _, place = read_names(data)
        types, named, timeout_ms = read_types(data, place)
        assert types == [INT_URL, f"{TYPE_PREFIX}google.protobuf.StringValue"]
        assert (named, timeout_ms) == ({"c": f"{TYPE_PREFIX}google.protobuf.Value"}, 30_000)

    @settings(max_examples=examples(200))
    @given(session_id=IDS, tool_id=IDS, args=ARGUMENTS, kwargs=NAMED, timeout_ms=TIMEOUTS)
    def test_it_is_written_as_protobuf_writes_it(
        self, session_id: str, tool_id: str, args: list[Any], kwargs: dict[str, Any], timeout_ms: int
    ) -> None:
        assert check_written(session_id, tool_id, args, kwargs, timeout_ms) is not None

    @pytest.mark.parametrize("length", [126, 127, 128, 129])
    @pytest.mark.parametrize("where", ["session", "tool", "name"])
    def test_what_a_client_writes_is_read_by_hand_unless_a_name_is_long(self, where: str, length: int) -> None:
        long = "x" * length
        ids = {"session": "s", "tool": "t"} | {where: long}
        data = check_written(ids["session"], ids["tool"], [1], {long if where == "name" else "a": 2}, 5)
        assert data is not None
        assert check_request(data) == (length < 127)

    @pytest.mark.parametrize(
        "value", [0, -1, 127, 128, 2**63 - 1, -(2**63), 0.0, -0.0, float("nan"), "", "ü" * 200, b"", True, False, None]
    )
    def test_each_scalar_is_read_as_it_was(self, value: Any) -> None:
        data = check_written("s", "t", [value], {"a": value}, 0)
        assert data is not None
        _, _, args, kwargs, _ = read(data)
        assert alike(args[0], value)
        assert alike(kwargs["a"], value)

    @pytest.mark.parametrize("value", [[], {}, object(), type("Whole", (int,), {})(1), bytearray()])
    def test_what_is_no_scalar_is_not_written(self, value: Any) -> None:
        assert arguments_of([1, value], {}) is None
        assert arguments_of([], {"a": value}) is None

    def test_a_lone_surrogate_is_refused(self) -> None:
        with pytest.raises(SerializationError, match="lone surrogate"):
            arguments_of(["\ud800"], {})
        with pytest.raises(UnicodeEncodeError):
            arguments_of([], {"\ud800": 1})

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x0a",
            b"\x0a\x05s",
            ToolCallRequest(tool_id="t").SerializeToString(),
            ToolCallRequest(session_id="s").SerializeToString(),
            request_head("s", "t") + request_tail(5) + request_tail(6),
            request_head("s", "t") + request_tail(5) + (arguments_of([1], {}) or b""),
            request_head("s", "t") + ToolCallRequest(request_id="r").SerializeToString(),
            request_head("s", "t") + ToolCallRequest(idempotency_key="k").SerializeToString(),
            request_head("s", "t") + ToolCallRequest(context={"k": "v"}).SerializeToString(),
            request_head("s", "t") + ToolCallRequest(timeout_ms=-1).SerializeToString(),
            request_head("s", "t") + b"\x30\xff\xff\xff\xff\x0f",
            request_head("s", "t") + b"\x30\x80",
            request_head("s", "t") + b"\x1a\x00",
            request_head("s", "t") + b"\x1a\x7f",
            request_head("s", "t") + (arguments_of([], {"a": 1}) or b"") * 2,
            request_head("s", "t") + (arguments_of([], {"a": 1}) or b"") + (arguments_of([1], {}) or b""),
            request_head("s", "t") + ToolCallRequest(args=[serialize_value([1])]).SerializeToString(),
            request_head("s", "t") + ToolCallRequest(args=[serialize_value(2**64)]).SerializeToString(),
            request_head("s", "t") + ToolCallRequest(args=[AnyMessage(type_url="x")]).SerializeToString(),
            request_head("s", "t")
            + ToolCallRequest(args=[AnyMessage(type_url=INT_URL, value=b"\x08")]).SerializeToString(),
            request_head("s", "t").replace(b"t", b"\xff"),
        ],
    )
    def test_what_is_not_usual_is_left_to_protobuf(self, data: bytes) -> None:
        with pytest.raises(UNREADABLE):
            read(data)

    def test_a_timeout_may_be_0_or_longer_than_it_need_be(self) -> None:
        assert read(request_head("s", "t") + b"\x30\x00")[-1] == 0
        assert read(request_head("s", "t") + b"\x30\x85\x80\x00")[-1] == 5


class TestAnswers:
    @settings(max_examples=examples(200))
    @given(value=SCALAR_VALUES, duration_us=st.integers(0, 2**40))
    def test_it_is_written_as_protobuf_writes_it_and_read_again(self, value: Any, duration_us: int) -> None:
        data = check_success(value, duration_us)
        assert data is not None
        if type(value) is not int or -(2**63) <= value < 2**63:
            assert alike(read_success(data), value)
        else:
            assert read_success(data) is UNREAD

    def test_a_number_of_any_size_is_left_to_what_checks_its_size(self) -> None:
        assert packed_scalar(2**63) is None
        assert packed_scalar(-(2**63) - 1) is None
        assert packed_scalar("text") is None
        for value in (0, 127, 128, 2**63 - 1, -(2**63), 0.5, True, None):
            assert packed_scalar(value) == SCALARS[type(value)](value)

    @pytest.mark.parametrize("value", [[1], {"a": 1}, 2**70, b"x" * 100_000])
    def test_a_success_may_have_a_result_of_any_type(self, value: Any) -> None:
        result = serialize_value(value)
        data = success_of((result.type_url, result.value), 5_000_000)
        assert is_success(data)
        assert check_answer(data)

    @pytest.mark.parametrize(
        "response",
        [
            ToolCallResponse(),
            ToolCallResponse(success=True),
            ToolCallResponse(error=ErrorInfo(type="x")),
            ToolCallResponse(success=True, result=serialize_value(1), request_id="r"),
            ToolCallResponse(success=True, result=serialize_value(1), error=ErrorInfo(type="x")),
            ToolCallResponse(success=True, result=serialize_value(1), metrics=ExecutionMetrics(cpu_time_ms=1)),
            ToolCallResponse(success=False, result=serialize_value(1)),
        ],
    )
    def test_any_other_is_left_to_protobuf(self, response: ToolCallResponse) -> None:
        data = response.SerializeToString()
        assert not is_success(data)
        assert read_success(data) is UNREAD

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x08\x01\x12",
            b"\x08\x01\x12\x05",
            b"\x08\x01\x12\x80",
            # An Any that is none: of another field, cut short, with a text that is none, or with too many bytes.
            b"\x08\x01\x12\x02\x08\x01",
            b"\x08\x01\x12\x02\x0a\x05",
            b"\x08\x01\x12\x03\x0a\x01\xff",
            b"\x08\x01\x12\x06\x0a\x01x\x12\x05y",
            # Metrics that are none.
            b"\x08\x01\x12\x03\x0a\x01x\x22\x01\x08",
            b"\x08\x01\x12\x03\x0a\x01x\x22\x05\x08\x01\x28\x05",
            b"\x08\x01\x12\x83\x80\x80\x80\x80\x80\x00\x0a\x01x",
        ],
    )
    def test_what_protobuf_refuses_is_no_success(self, data: bytes) -> None:
        assert not is_success(data)
        assert read_success(data) is UNREAD

    def test_what_is_broken_is_what_protobuf_refuses(self) -> None:
        broken = b"\x08\x01\x12\x06\x0a\x01x\x12\x05y"
        with pytest.raises(DecodeError):
            ToolCallResponse.FromString(broken)


# ------------------------------------------------------------------------------------------------------ any bytes

Mutation = Callable[[bytes], bytes]


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """Changes that encoders of other peers, or nobody, would make."""
    kind = draw(st.sampled_from(["byte", "cut", "insert", "repeat", "longer varint", "unknown field", "end"]))
    at, other = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    some = draw(st.binary(min_size=1, max_size=3))
    zeros = draw(st.integers(0, 9))

    def mutate(data: bytes) -> bytes:
        start, end = sorted((int(at * len(data)), int(other * len(data))))
        match kind:
            case "byte":
                return data[:start] + some[:1] + data[start + 1 :]
            case "cut":
                return data[:start] + data[end:]
            case "insert":
                return data[:start] + some + data[start:]
            case "repeat":
                return data + data[start:end]
            case "longer varint":
                changed = bytes((data[start] | 0x80,)) + b"\x80" * zeros + b"\x00" if start < len(data) else b""
                return data[:start] + changed + data[start + 1 :]
            case "unknown field":
                return data[:start] + b"\xfa\x07" + varint(len(some)) + some + data[start:]
        return data[:start]

    return mutate


@settings(max_examples=examples(400))
@given(
    args=ARGUMENTS,
    kwargs=NAMED,
    timeout_ms=TIMEOUTS,
    changes=st.lists(mutations(), min_size=1, max_size=3),
    reordered=st.booleans(),
)
def test_of_any_request_both_ways_read_the_same(
    args: list[Any], kwargs: dict[str, Any], timeout_ms: int, changes: list[Mutation], reordered: bool
) -> None:
    parts = [request_head("s", "t"), arguments_of(args, kwargs) or b"", request_tail(timeout_ms)]
    data = b"".join(reversed(parts) if reordered else parts)
    for change in changes:
        data = change(data)
        check_request(data)


@settings(max_examples=examples(400))
@given(value=SCALAR_VALUES, duration_us=st.integers(0, 2**40), changes=st.lists(mutations(), min_size=1, max_size=3))
def test_of_any_answer_both_ways_read_the_same(value: Any, duration_us: int, changes: list[Mutation]) -> None:
    data = success_of(SCALARS[type(value)](value), duration_us)
    for change in changes:
        data = change(data)
        check_answer(data)
