"""What the hub refuses for a worker, and what it leaves to it."""

import json
from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, Json

from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.core.registered_tool import resolve
from grpc_tool_bridge.errors import SerializationError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolCallRequest, ToolSpec, ToolType, ValidationRules
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY
from grpc_tool_bridge.tools.spec_arguments import MAX_ARGUMENTS, MAX_SCHEMA_BYTES
from grpc_tool_bridge.tools.spec_checks import SpecCheck
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.serialization import deserialize_value


class Color(Enum):
    RED = "red"


def add(a: int, b: int = 2) -> int:
    return a + b


def kinds(i: int = 0, f: float = 0.0, s: str = "", t: bool = False, b: bytes = b"", o: int | None = None) -> None: ...


def bounded(
    n: Annotated[int, Field(gt=0, le=9)] = 1,
    x: Annotated[float, Field(ge=0.5, lt=2)] = 1.0,
    s: Annotated[str, Field(min_length=1, max_length=3)] = "a",
    o: Annotated[int, Field(ge=3)] | None = None,
    b: Annotated[bytes, Field(max_length=1)] = b"",
) -> None: ...


def chosen(
    mode: Literal["fast", "slow"] = "fast", size: Literal[1, 2] = 1, either: Literal["x"] | None = None
) -> None: ...


def starred(a: int, /, *rest: int, key: str, **options: float) -> None: ...


def worldly(
    a: Any = 0,
    u: int | str = 0,
    l: list[int] = [],  # noqa: B006, E741
    d: date = date.min,
    c: Color = Color.RED,
    p: Annotated[str, Field(pattern="^a+$")] = "a",
    m: Literal["a", 1] | None = "a",
) -> None: ...


class Style(TypedDict):
    color: str
    size: NotRequired[Annotated[int, Field(ge=1)]]


def nullable(n: int = None, s: str = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013 - what is tested


def encoded(n: Json[int], many: Json[list[int]]) -> None: ...


def keyed(**style: Unpack[Style]) -> None: ...


FUNCTIONS: tuple[Callable[..., Any], ...] = (
    add, kinds, bounded, chosen, starred, worldly, nullable, encoded, keyed,
)  # fmt: skip
TOOLS = {function: as_tool(function) for function in FUNCTIONS}
CHECKS = {function: SpecCheck(made.spec) for function, made in TOOLS.items()}


def request(*args: Any, **kwargs: Any) -> ToolCallRequest:
    return ToolCallRequest(
        args=[serialize_value(value) for value in args],
        kwargs={name: serialize_value(value) for name, value in kwargs.items()},
    )


def refusal(check: Callable[[ToolCallRequest], Any], call: ToolCallRequest) -> tuple[str, dict[str, str]] | None:
    try:
        check(call)
    except ValidationError as error:
        return error.message, error.details
    return None


def local_refusal(function: Callable[..., Any], call: ToolCallRequest) -> tuple[str, dict[str, str]] | None:
    def bind(call: ToolCallRequest) -> None:
        args = [deserialize_value(item) for item in call.args]
        TOOLS[function].bind(args, {name: deserialize_value(item) for name, item in call.kwargs.items()})

    return refusal(bind, call)


def remote_refusal(function: Callable[..., Any], call: ToolCallRequest) -> tuple[str, dict[str, str]] | None:
    return refusal(CHECKS[function], call)


def details(spec: ToolSpec, *args: Any, **kwargs: Any) -> dict[str, str]:
    refused = refusal(SpecCheck(spec), request(*args, **kwargs))
    return {} if refused is None else refused[1]


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (add, request()),
        (add, request(1, 2, 3)),
        (add, request(1, a=1)),
        (add, request(1, c=1)),
        (add, request(qqq=1)),
        (add, request("1", b=2.0)),
        (add, request(a=True, b=None)),
        (kinds, request("x", "x", 1, 1, "x", "x")),
        (kinds, request(f=True, s=b"x", t="true", b=1, o=1.0)),
        (bounded, request(0, 0.25, "", 2, b"ab")),
        (bounded, request(n=10, x=2, s="four", o=0)),
        (bounded, request(n="x", s=1)),
        (add, request(5.5, b=float("inf"))),
        (bounded, request(10.0)),
        (chosen, request(size=3.0)),
        (nullable, request("x", 5)),
        (keyed, request(size=0, colr="red")),
        (chosen, request("quick", 3, "y")),
        (chosen, request(mode=1, size="1", either=1)),
        (starred, request("x", 2, "y", key=1, a=1, other="z")),
        (starred, request(a=1.5)),
        (worldly, request(1, 2, [], z=1)),
    ],
)
def test_a_wrong_call_is_refused_in_the_words_of_a_tool_of_the_hub(
    function: Callable[..., Any], call: ToolCallRequest
) -> None:
    refused = remote_refusal(function, call)
    assert refused is not None
    assert refused == local_refusal(function, call)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (add, request(1)),
        (add, request(1, b=2)),
        (add, request(10**30, [1])),
        (add, request(5.0, b=1e300)),
        (kinds, request(o=5.0)),
        (bounded, request(9.0, o=3.0)),
        (chosen, request("slow", 2.0)),
        (nullable, request(None, None)),
        (encoded, request("5", "[1]")),
        (kinds, request(1, 1, "x", True, b"x", None)),
        (kinds, request(o=5, f=2.5)),
        (bounded, request(9, 0.5, "abc", 3, b"x")),
        (bounded, request(o=None)),
        (chosen, request("slow", 2, None)),
        (starred, request(1, 2, 3, key="k", other=1)),
        (starred, request(1, key="k", rest=[1, 2])),
        (worldly, request("x", [], "no list", 5, "blue", "b", {})),
    ],
)
def test_what_fits_or_is_of_another_type_passes(function: Callable[..., Any], call: ToolCallRequest) -> None:
    CHECKS[function](call)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "a", "aa", "abcd", "fast", "slow", "x", "red", "1", "2020-02-02"]),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=2),
    st.just(date.min),
)
NAMES = st.sampled_from(
    ["a", "b", "i", "f", "s", "t", "o", "n", "x", "mode", "size", "key", "rest", "u", "c", "p", "z"]
)


@settings(deadline=None)
@given(st.sampled_from(list(TOOLS)), st.lists(VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=4))
def test_nothing_is_refused_that_the_tool_would_take(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    call = request(*args, **kwargs)
    refused = remote_refusal(function, call)
    if refused is not None:
        local = local_refusal(function, call)
        assert local is not None
        # The tool may know of more that is wrong, also with the same argument.
        assert all(part in local[1].get(name, "") for name, text in refused[1].items() for part in text.split("; "))


class Looking(SpecCheck):
    """Tells whether a call was fine unread."""

    judged = False

    def _judge(self, request: Any) -> None:
        self.judged = True


LOOKING = {function: Looking(tool.spec) for function, tool in TOOLS.items()}


@settings(deadline=None)
@given(st.sampled_from(list(TOOLS)), st.lists(VALUES, max_size=5), st.dictionaries(NAMES, VALUES, max_size=4))
def test_types_pass_just_where_a_call_is_fine_unread(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    call, check = request(*args, **kwargs), LOOKING[function]
    check.judged = False
    check(call)
    urls = [item.type_url for item in call.args]
    assert check.passes(urls, {name: item.type_url for name, item in call.kwargs.items()}) != check.judged


def test_types_are_judged_before_any_call_was() -> None:
    check = SpecCheck(as_tool(add).spec)
    whole = serialize_value(1).type_url
    assert check.passes([whole], {"b": whole})
    assert not check.passes([whole], {"a": whole})
    assert not check.passes([serialize_value("x").type_url], {})
    assert not check.passes([], {})
    assert check.passes([], {"a": whole})
    assert not check.passes([], {"b": whole})
    assert not check.passes([whole, whole], {"b": whole})


def schema(**properties: Any) -> ToolSpec:
    whole = {"type": "object", "properties": properties, "required": ["n"], "additionalProperties": False}
    return ToolSpec(name="far", input_schema=json.dumps(whole))


@pytest.mark.parametrize(
    ("facts", "value", "text"),
    [
        ({"type": "integer"}, "x", "should be a valid integer, got 'x' (str)"),
        ({"type": "integer"}, True, "should be a valid integer, got True (bool)"),
        ({"type": "integer"}, None, "should be a valid integer, got None"),
        ({"type": ["integer", "null"]}, "x", "should be a valid integer, got 'x' (str)"),
        ({"type": "number"}, "x", "should be a valid number, got 'x' (str)"),
        ({"type": "string"}, 1, "should be a valid string, got 1 (int)"),
        ({"type": "boolean"}, 1, "should be a valid boolean, got 1 (int)"),
        ({"type": "integer", "minimum": 1}, 0, "should be greater than or equal to 1, got 0 (int)"),
        ({"type": "number", "exclusiveMaximum": 1}, 1.0, "should be less than 1, got 1.0 (float)"),
        ({"type": "string", "maxLength": 1}, "ab", "should have at most 1 character, got 'ab' (str)"),
        ({"enum": ["a", "b"]}, "c", "should be 'a' or 'b', got 'c' (str)"),
        ({"const": "a"}, "c", "should be 'a', got 'c' (str)"),
    ],
)
def test_an_input_schema_alone_says_enough_to_refuse(facts: Any, value: Any, text: str) -> None:
    assert details(schema(n=facts), n=value) == {"n": text}


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        ({"type": "integer"}, 3.0),
        ({"type": "string"}, b"x"),
        ({"type": "string", "format": "date"}, 5),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "!"),
        ({"type": "integer", "default": None}, None),
        ({"type": ["integer", "null"], "minimum": 3}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, True),
        ({"type": "array"}, "x"),
        ({"$ref": "#/$defs/x", "type": "integer"}, "x"),
        ({"type": "integer", "minimum": "x", "maximum": 1e300}, 5),
        ({"enum": [[1]]}, "x"),
        ({"type": "string", "maxLength": 1}, "x" * 100_000),
        (True, "x"),
    ],
)
def test_what_a_schema_may_mean_otherwise_is_left_to_the_worker(facts: Any, value: Any) -> None:
    assert details(schema(n=facts), n=value) == {}


def test_the_names_of_an_input_schema_are_checked_and_its_order_is_not() -> None:
    spec = schema(n={"type": "integer"}, limit={})
    assert details(spec, limt=1) == {"n": "missing", "limt": "unknown, did you mean 'limit'?"}
    assert details(spec, 1, 2, 3) == {}
    assert details(ToolSpec(name="far", input_schema='{"properties":{}}'), z=1) == {}
    closed = ToolSpec(name="far", input_schema='{"additionalProperties":false}')
    assert details(closed, 1) == {"*": "takes at most 0 arguments by position, got 1"}


def test_a_wrong_name_is_answered_with_the_first_of_many_right_ones() -> None:
    told = details(schema(**{f"a{n}": {} for n in range(30)}), n=1, zzz=1)["zzz"]
    assert told.startswith("unknown, the tool takes 'a0', 'a1'")
    assert told.endswith("'a19' and 11 more")


def test_a_spec_that_says_nothing_refuses_nothing() -> None:
    assert details(ToolSpec(name="far"), 1, z=2) == {}


def test_the_rules_of_a_spec_hold_where_there_is_no_schema() -> None:
    rules = ValidationRules(min_value=1, max_length=2, custom_rules=["multiple of 5"])
    arguments = [
        ArgumentSpec(name="n", python_type="int", validation=rules),
        ArgumentSpec(name="s", python_type="str", validation=rules),
        ArgumentSpec(name="e", python_type="str", allowed_values=["a"]),
        ArgumentSpec(name="c", python_type="int", validation=ValidationRules(custom_rules=["any text will do"])),
    ]
    assert details(ToolSpec(name="far", arguments=arguments), 0, "abc", "b", "x") == {
        "n": "should be greater than or equal to 1, got 0 (int)",
        "s": "should have at most 2 characters, got 'abc' (str)",
        "e": "should be 'a', got 'b' (str)",
    }


def test_bytes_that_are_no_value_are_left_to_the_worker() -> None:
    call = request("x")
    call.args[0].value = b"\xff"
    with pytest.raises(SerializationError):
        deserialize_value(call.args[0])
    CHECKS[add](call)


def test_a_type_url_with_another_prefix_is_the_same_type() -> None:
    call = request("x")
    call.args[0].type_url = "example.com/google.protobuf.StringValue"
    refused = remote_refusal(add, call)
    assert refused is not None
    assert refused == local_refusal(add, call)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ToolSpec(name="far", input_schema="{"), "tool 'far': its input_schema is not a JSON Schema of an object"),
        (ToolSpec(name="far", input_schema="[]"), "Expected `object`, got `array`"),
        (ToolSpec(name="far", input_schema='{"properties":[]}'), "Expected `object`, got `array`"),
        (ToolSpec(name="far", input_schema='{"properties":{"x":' + "[" * 50_000), "not a JSON Schema of an object"),
        (ToolSpec(name="far", input_schema=" " * (MAX_SCHEMA_BYTES + 1)), "262,145 bytes, the limit is 262,144"),
        (schema(**{f"a{n}": {} for n in range(MAX_ARGUMENTS)}), "it has 257 arguments, the limit is 256"),
        (ToolSpec(name="far", arguments=[ArgumentSpec(name=f"a{n}") for n in range(10_000)]), "10,000 arguments"),
        (ToolSpec(name="far", arguments=[ArgumentSpec(name="a")] * 2), "two of its arguments are named 'a'"),
        (ToolSpec(name="far", arguments=[ArgumentSpec()]), "an argument's name must have 1 to 128 characters"),
        (ToolSpec(name="far", arguments=[ArgumentSpec(name="x" * 129)]), "this one has 129: 'xxx"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_at_once(spec: ToolSpec, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        SpecCheck(spec)


def test_a_pipeline_of_too_many_inputs_is_refused_before_anything_is_made_of_it() -> None:
    metadata = {PIPELINE_KEY: '{"steps": [{"kind": "step", "tool": "x"}]}'}
    arguments = [ArgumentSpec(name=f"a{n}") for n in range(10_000)]
    with pytest.raises(ValidationError, match="10,000 arguments, the limit is 256"):
        resolve(ToolSpec(name="far", type=ToolType.COMPOSITE, arguments=arguments, metadata=metadata))


def test_names_that_python_could_not_have_are_names() -> None:
    spec = ToolSpec(name="far", arguments=[ArgumentSpec(name="max results", python_type="int"), ArgumentSpec(name="*")])
    assert details(spec, **{"max results": "x", "*": 1}) == {"max results": "should be a valid integer, got 'x' (str)"}


@pytest.mark.parametrize(
    "bound", [10**400, -(10**400), 1e308, 2**53, 1.5, -1, True, "1", None, [1]], ids=lambda bound: repr(bound)[:8]
)
@pytest.mark.parametrize("kind", ["integer", "number", "string"])
def test_no_bound_can_break_the_check(kind: str, bound: Any) -> None:
    rules = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")
    spec = schema(n={"type": kind, **dict.fromkeys(rules, bound)})
    for value in (5, 0.5, "x"):
        details(spec, n=value)
    assert details(spec, n=[]) == {}
