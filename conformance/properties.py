"""What holds for every value and every message: generated ones make the round trip through a peer."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.checks import FAILED, PASSED, UNSUPPORTED, Entry, Outcome, Peer, check_message, check_value
from conformance.descriptions import describe
from conformance.fields import DESCRIPTORS, Field, fields_of, is_map, new_message
from conformance.generated import TEXTS, VALUES
from conformance.payloads import write_base64
from grpc_tool_bridge.values.serialization import serialize_value

PROPERTIES = "properties"

_numbers = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    # An enum's number need not be known.
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 9),
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
}
_MAX_LEVELS = 4


@st.composite
def _messages(draw: st.DrawFn) -> Message:
    message = new_message(draw(st.sampled_from(sorted(DESCRIPTORS))))
    _draw_fields(draw, message, _MAX_LEVELS)
    return message


def _draw_fields(draw: st.DrawFn, message: Message, levels: int) -> None:
    message.SetInParent()
    fields: list[Field] = [*message.DESCRIPTOR.fields]
    chosen = st.lists(st.sampled_from(range(len(fields))), max_size=5, unique=True)
    for field in [fields[number] for number in draw(chosen)] if levels and fields else ():
        target = getattr(message, field.name)
        count = draw(st.integers(0, 3))
        if is_map(field):
            _draw_entries(draw, target, field.message_type.fields_by_name["value"], levels)
        elif field.message_type is not None:
            for _ in range(count) if field.is_repeated else ():
                _draw_fields(draw, target.add(), levels - 1)
            if not field.is_repeated:
                _draw_fields(draw, target, levels - 1)
        elif field.is_repeated:
            target.extend(draw(_scalars(field)) for _ in range(count))
        else:
            setattr(message, field.name, draw(_scalars(field)))


def _draw_entries(draw: st.DrawFn, target: Any, field: Field, levels: int) -> None:
    for key in draw(st.lists(TEXTS, max_size=3)):
        if field.message_type is not None:
            _draw_fields(draw, target[key], levels - 1)
        else:
            target[key] = draw(_scalars(field))


def _scalars(field: Field) -> st.SearchStrategy[Any]:
    return st.binary(max_size=12) if field.type == FieldDescriptor.TYPE_BYTES else _numbers[field.cpp_type]


def check_properties(peer: Peer, examples: int) -> Iterator[Outcome]:
    """Checks generated values and messages, the same in each run; yields one outcome for each property."""
    yield _outcome("every value", VALUES, lambda value: check_value(peer, _value_vector(value)), examples)
    yield _outcome("every message", _messages(), lambda value: check_message(peer, _message_vector(value)), examples)


def _value_vector(value: Any) -> Entry:
    message = serialize_value(value, strict=True)
    whole = write_base64(message.SerializeToString(deterministic=True))
    return {"name": repr(value), "any": whole, "meaning": describe(value), "peer": "equal"}


def _message_vector(message: Message) -> Entry:
    payload = write_base64(message.SerializeToString(deterministic=True))
    name = message.DESCRIPTOR.full_name
    return {"name": name, "message": name, "bytes": payload, "fields": fields_of(message)}


def _outcome(
    name: str, examples: st.SearchStrategy[Any], check: Callable[[Any], Iterator[Outcome]], count: int
) -> Outcome:
    """Checks one property; a failure has the simplest example that was found."""
    unsupported = False

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
        report_multiple_bugs=False,
    )
    @given(examples)
    def holds(example: Any) -> None:
        nonlocal unsupported
        for one in check(example):
            unsupported = unsupported or one.outcome == UNSUPPORTED
            assert one.outcome != FAILED, f"{one.action} of {one.name}: {one.detail}"

    try:
        holds()
    except AssertionError as failure:
        return Outcome(PROPERTIES, "generated", name, FAILED, detail=str(failure))
    return Outcome(PROPERTIES, "generated", name, UNSUPPORTED if unsupported else PASSED)
