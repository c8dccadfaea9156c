"""What is written of plain data, and that every message that is read can be written again."""

import base64
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.fields import takes_request
from grpc_tool_bridge.adapters.grpc.problems import MAX_LEVELS, Problems, WrongError
from grpc_tool_bridge.adapters.grpc.reading import reader_of
from grpc_tool_bridge.adapters.grpc.writing import GivenNames, requests_writer_of, writer_of
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.protos_corpus import FILES, class_of, corpus, data_of, googles, message, messages, types_in
from support.soak import examples


def names_of(name: str) -> GivenNames:
    descriptor = message(name)
    return GivenNames(descriptor, [field.name for field in descriptor.fields])


@pytest.mark.parametrize(
    ("name", "given", "problems"),
    [
        ("every3.Names", {"snake_case": "a", "snakeCase": None}, []),
        ("every3.Names", {"snakeCase": "a", "snake_case": "b"}, [(".snake_case", "given twice, as 'snake_case' and")]),
        ("every3.Choices", {"text": "a", "number": None, "yes": True}, []),
        ("every3.Choices", {"text": "a", "nothing": None}, [(".nothing", "only one of 'text', 'number'")]),
        ("every2.Fields", {"name": None}, [(".name", "missing")]),
        ("every2.Fields", {"name": "a"}, []),
        ("every2.Fields", {"name": "a", "this": "b", "that": {}}, [(".that", "only one of 'this', 'that'")]),
    ],
)
def test_names_are_checked_with_each_other(name: str, given: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    found = Problems()
    names_of(name).check(given, found)
    told: list[tuple[str, str]] = []
    try:
        found.end()
    except WrongError as error:
        told = error.problems
    assert [path for path, _ in told] == [path for path, _ in problems]
    assert all(text.startswith(begin) for (_, text), (_, begin) in zip(told, problems, strict=True))


def test_only_names_that_can_clash_are_watched() -> None:
    assert names_of("every3.Node").watched == {"byName"}
    assert names_of("every3.Choices").watched >= {"text", "number"}
    assert "beside" not in names_of("every3.Choices").watched
    assert names_of("every3.Choices").nullable == {"nothing", "value"}
    assert names_of("every2.Fields").required == ["name"]


TYPES = {item.full_name: (item, corpus()) for item in types_in(corpus(), list(FILES))}
GOOGLES = {item.full_name: (item, googles()[0]) for item in types_in(*googles())}
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def as_arguments(descriptor: Any, read: Any) -> dict[str, Any]:
    if takes_request(descriptor):
        return {"request": read}
    return {} if read is None else dict(read)


@pytest.mark.seeded
@pytest.mark.parametrize("name", sorted(TYPES))
@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=SLOW, deadline=None)
def test_any_message_is_read_and_written_unchanged(name: str, data: Any) -> None:
    descriptor, pool = TYPES[name]
    made = data.draw(messages(descriptor, pool))
    read = reader_of(descriptor, pool)(made)
    write = writer_of(descriptor, pool, "t")
    assert data_of(write(as_arguments(descriptor, read))) == data_of(made)
    travelled = deserialize_value(serialize_value(read, strict=True))
    assert data_of(write(as_arguments(descriptor, travelled))) == data_of(made)


@pytest.mark.seeded
@given(data=st.data())
@settings(max_examples=examples(300), suppress_health_check=SLOW, deadline=None)
def test_any_message_of_googles_is_read_and_written_unchanged(data: Any) -> None:
    descriptor, pool = GOOGLES[data.draw(st.sampled_from(sorted(GOOGLES)))]
    made = data.draw(messages(descriptor, pool))
    read = reader_of(descriptor, pool)(made)
    assert data_of(writer_of(descriptor, pool, "t")(as_arguments(descriptor, read))) == data_of(made)


# Protobuf's own reader of JSON asks messages for their DESCRIPTOR, which is a field here.
@pytest.mark.seeded
@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"every3.Names"}))
@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=[*SLOW, HealthCheck.filter_too_much], deadline=None)
def test_what_is_read_is_what_protobuf_reads_as_json(name: str, data: Any) -> None:
    descriptor, pool = TYPES[name]
    made = data.draw(messages(descriptor, pool, valid=True))
    assume(protobuf_reads_its_own(made, pool))
    read = as_json(reader_of(descriptor, pool)(made))
    assert data_of(json_format.ParseDict(read, type(made)(), descriptor_pool=pool)) == data_of(made)


def protobuf_reads_its_own(made: Any, pool: Any) -> bool:
    """Whether protobuf's Python can read what it writes: it cannot read null in a list, or a NaN in a Value."""
    try:
        written = json_format.MessageToDict(made, descriptor_pool=pool)
        return data_of(json_format.ParseDict(written, type(made)(), descriptor_pool=pool)) == data_of(made)
    except (json_format.Error, AttributeError, TypeError, ValueError):
        return False


def as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        names = {True: "true", False: "false"}
        return {
            names.get(key, str(key)) if isinstance(key, bool) else str(key): as_json(item)
            for key, item in value.items()
        }
    return [as_json(item) for item in value] if isinstance(value, list) else value


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.seeded
@pytest.mark.parametrize("name", sorted(TYPES))
@given(data=st.data())
@settings(max_examples=examples(60), suppress_health_check=SLOW, deadline=None)
def test_any_data_is_either_refused_or_written_as_it_is(name: str, data: Any) -> None:
    descriptor, pool = TYPES[name]
    names = st.sampled_from([field.name for field in descriptor.fields] or ["x"]) | st.text(max_size=3)
    given = data.draw(st.dictionaries(names, ANYTHING, max_size=3))
    write, read = writer_of(descriptor, pool, "t"), reader_of(descriptor, pool)
    made, error = tried(write, given)
    if error is not None:
        assert error.details
        assert error.message.startswith("t: ")
        return
    found = as_arguments(descriptor, read(made))
    assert data_of(write(found)) == data_of(made)
    for key, value in given.items():
        if value is not None and type(value) in (str, bytes, bool, int, list, dict):
            field = descriptor.fields_by_name.get(key)
            if field is not None and field.type == field.TYPE_STRING:
                assert found[key] == value


def tried(write: Any, given: dict[str, Any]) -> tuple[Any, ValidationError | None]:
    try:
        return write(given), None
    except ValidationError as error:
        return None, error


def write(name: str, **given: Any) -> Any:
    return writer_of(message(name), corpus(), "t")(given)


def problems_of(name: str, given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        writer_of(message(name), corpus(), "t")(given)
    return dict(caught.value.details)


def test_every_wrong_part_is_told_by_its_path() -> None:
    given = {
        "name": 3,
        "left": {"nam": "a"},
        "children": [{}, {"children": [{"left": 5}]}],
        "by_name": {"a": {"name": b"x"}, "b": None},
    }
    assert problems_of("every3.Node", given) == {
        "name": "should be a valid string, got 3 (int)",
        "left.nam": "unknown, did you mean 'name'?",
        "children[1].children[0].left": "should be a dict, got 5 (int)",
        "by_name['a'].name": "should be a valid string, got b'x' (bytes)",
        "by_name['b']": "should be a value, got None",
    }


@pytest.mark.parametrize(
    ("name", "given", "problems"),
    [
        ("every3.Scalars", {"a_float": 1e300}, {"a_float": "should be within the range of a float of 32 bits"}),
        ("every3.Lists", {"int32s": [1, 2**31]}, {"int32s[1]": "should be an integer from"}),
        ("every3.Lists", {"floats": [1.0, 1e39]}, {"floats[1]": "should be within"}),
        ("every3.Lists", {"strings": ["a", "\ud800"]}, {"strings[1]": "has a lone surrogate"}),
        ("every3.Lists", {"bools": [True, 1]}, {"bools[1]": "should be a valid boolean"}),
        ("every3.Lists", {"strings": "abc"}, {"strings": "should be a list, got 'abc' (str)"}),
        ("every3.Lists", {"strings": [None]}, {"strings[0]": "should be a valid string, got None"}),
        ("every3.Lists", {"skies": ["SKY_CLER"]}, {"skies[0]": "is no value of every3.Sky, did you mean 'SKY_CLEAR'?"}),
        ("every3.Maps", {"by_int32": {1: "a", "1": "b"}}, {"by_int32['1']": "its key is given twice"}),
        ("every3.Maps", {"by_int32": {"a": "b"}}, {"by_int32['a']": "its key should be a valid integer"}),
        ("every3.Maps", {"by_int32": [1]}, {"by_int32": "should be a dict"}),
        ("every3.Choices", {"text": "a", "number": 1}, {"number": "only one of 'text', 'number'"}),
        ("every3.Choices", {"text": "a", "nothing": None}, {"nothing": "only one of"}),
        ("every3.Names", {"snake_case": "a", "snakeCase": "b"}, {"snake_case": "given twice, as 'snake_case' and"}),
        ("every3.Names", {"snakecase": "a"}, {"snakecase": "unknown, did you mean 'snake_case'?"}),
        ("every3.WellKnown", {"moment": "today"}, {"moment": "should be a time with its offset"}),
        ("every3.WellKnown", {"mask": 5}, {"mask": "should be the names of fields"}),
        ("every3.WellKnown", {"any": {"a": 1}}, {"any": "should have '@type'"}),
        ("every3.WellKnown", {"any": 5}, {"any": "should be a dict with '@type'"}),
        ("every3.WellKnown", {"any": {"@type": "x/no.T", "a": 1}}, {"any": "'x/no.T' is no type of this service"}),
        ("every3.WellKnown", {"any": {"@type": "x/google.protobuf.Duration"}}, {"any": "should have 'value' beside"}),
        (
            "every3.WellKnown",
            {"any": {"@type": "x/google.protobuf.Duration", "value": 5}},
            {"any.value": "should be a duration"},
        ),
        ("every3.WellKnown", {"any": {"@type": "x/every3.Node", "name": 5}}, {"any.name": "should be a valid string"}),
        ("every3.WellKnown", {"null": 3.5}, {"null": "should be one of"}),
        ("every2.Fields", {"request": {}}, {"request.name": "missing"}),
        ("every2.Fields", {"request": {"name": None}}, {"request.name": "missing"}),
        (
            "every2.Fields",
            {"request": {"name": "a", "level": 4}},
            {"request.level": "should be one of"},
        ),
        ("every2.Fields", {"request": {"name": "a", "many": [{}]}}, {"request.many[0].place": "missing"}),
        (
            "every2.Fields",
            {"request": {"name": "a", "[every2.mor]": 1}},
            {"request[every2.mor]": "unknown, did you mean"},
        ),
        (
            "every2.Fields",
            {"request": {"name": "a", "[every2.more]": "x"}},
            {"request[every2.more]": "should be"},
        ),
        ("google.protobuf.Timestamp", {"seconds": 5}, {"seconds": "unknown, the tool takes", "request": "missing"}),
        ("google.protobuf.Timestamp", {"request": 5}, {"request": "should be a time"}),
    ],
)
def test_what_is_wrong_is_refused(name: str, given: dict[str, Any], problems: dict[str, str]) -> None:
    found = problems_of(name, given)
    assert found.keys() == problems.keys()
    assert all(found[path].startswith(text) for path, text in problems.items())


def test_none_is_not_set_except_where_null_is_a_value() -> None:
    assert data_of(write("every3.Optionals", a_string=None, scalars=None, sky=None)) == b""
    assert data_of(write("every3.Lists", strings=None)) == b""
    assert write("every3.WellKnown", value=None, null=None).HasField("value")
    assert write("every3.Choices", nothing=None).WhichOneof("choice") == "nothing"
    assert list(write("every3.Lists", nulls=[None], values=[None]).nulls) == [0]


def test_each_name_of_a_field_is_taken() -> None:
    assert write("every3.Names", twoNames="a", **{"self": "b", "@type": "c"}) == class_of("every3.Names")(
        self="b", two_names="a", other="c"
    )


def test_other_forms_of_values_are_taken() -> None:
    made = write(
        "every3.Scalars", an_int64="5", a_double=1, a_bytes="YQ==", sky=1, renamed="ERSTER", a_float=np.float32(0.5)
    )
    assert (made.an_int64, made.a_double, made.a_bytes, made.sky, made.renamed) == (5, 1.0, b"a", 1, 1)
    assert list(write("every3.Lists", doubles=np.array([1.5, 2.0]), int32s=(1, "2")).doubles) == [1.5, 2.0]
    assert write("every3.WellKnown", moment=datetime(1970, 1, 1, tzinfo=UTC)).HasField("moment")


def test_an_any_of_bytes_is_taken_as_it_is() -> None:
    made = write("every3.WellKnown", any={"@type": "x/every3.Node", "@value": b"\xff"})
    assert (made.any.type_url, made.any.value) == ("x/every3.Node", b"\xff")
    assert write("every3.WellKnown", any={"@type": "x/no.T"}).any.value == b""
    assert not write("every3.WellKnown", any={}).any.type_url


@pytest.mark.parametrize("name", ["left", "other", "any"])
def test_what_contains_itself_is_refused(name: str) -> None:
    value: dict[str, Any] = {}
    if name == "any":
        value |= {"@type": "x/google.protobuf.Any", "value": value}
        text = problems_of("every3.WellKnown", {"any": value})
    else:
        value |= {"left": value} if name == "left" else {"other": {"back": value}}
        text = problems_of("every3.Node", value)
    ((_, said),) = text.items()
    assert said == "is nested deeper than 96 levels of messages, or contains itself"


def test_what_is_nested_just_as_deep_as_allowed_is_written_and_read() -> None:
    value: dict[str, Any] = {"name": "end"}
    for _ in range(MAX_LEVELS):
        value = {"left": value}
    made = writer_of(message("every3.Node"), corpus(), "t")(value)
    found = reader_of(message("every3.Node"), corpus())(made)
    assert data_of(writer_of(message("every3.Node"), corpus(), "t")(found)) == data_of(made)
    assert len(problems_of("every3.Node", {"left": value})) == 1


@pytest.mark.parametrize(
    ("name", "argument", "deeper"),
    [
        ("google.protobuf.Struct", "request", lambda value: {"a": value or {}}),
        ("google.protobuf.ListValue", "request", lambda value: [value or []]),
        ("google.protobuf.Value", "request", lambda value: [{"a": value}]),
        ("every3.Node", "by_name", lambda value: {"a": {"by_name": value or {}}}),
    ],
)
def test_what_is_nested_as_deep_as_allowed_can_be_read_by_protobuf(name: str, argument: str, deeper: Any) -> None:
    write_it = writer_of(message(name), corpus(), "t")
    made: list[Message] = []

    def write_deeper_and_deeper() -> None:
        value: Any = None
        while len(made) <= MAX_LEVELS:
            value = deeper(value)
            made.append(write_it({argument: value}))

    with pytest.raises(ValidationError, match="is nested deeper"):
        write_deeper_and_deeper()
    for one in made:
        assert data_of(type(one).FromString(data_of(one))) == data_of(one)


def test_a_stream_of_requests_is_a_list() -> None:
    write_all = requests_writer_of(message("every3.Node"), corpus(), "t")
    made: list[Any] = write_all({"requests": [{"name": "a"}, {"name": "b"}]})
    assert [one.name for one in made] == ["a", "b"]
    for arguments, problems in (
        ({"requests": [{}, {"name": 1}]}, {"requests[1].name": "should be a valid string, got 1 (int)"}),
        ({"requests": {}}, {"requests": "should be a list, got dict of 0"}),
        ({}, {"requests": "missing"}),
        ({"requests": [], "x": 1}, {"x": "unknown, the tool takes 'requests'"}),
    ):
        with pytest.raises(ValidationError) as caught:
            write_all(arguments)
        assert caught.value.details == problems


def test_a_message_that_is_one_argument_is_written() -> None:
    assert write("google.protobuf.Struct", request={"a": 1})["a"] == 1
    assert write("google.protobuf.Value", request=None).WhichOneof("kind") == "null_value"
