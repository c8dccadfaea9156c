"""Scalars in messages: single ones, lists of them, and messages that hold nothing else."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from grpc_tool_bridge.adapters.grpc.fields import is_required, message_class, oneofs_of
from grpc_tool_bridge.adapters.grpc.problems import Problems, WrongError, wrong
from grpc_tool_bridge.adapters.grpc.scalars import EXACT, converter_of, fits_float
from grpc_tool_bridge.adapters.grpc.well_known_shapes import is_repeated
from grpc_tool_bridge.llm.values import whole_of

# Writes a value into a message or a container; the levels that are left do not matter.
Fill = Callable[[Any, Any, int], None]

_TEXTS = frozenset({str})


def quick_maker(descriptor: Descriptor) -> Callable[[Mapping[str, Any]], Any]:
    """Returns a function that makes a message of values that protobuf can be given as they are.

    It returns None for any others, and for wrong ones.
    """
    if any(map(is_required, descriptor.fields)):
        return lambda _: None
    cls = message_class(descriptor)
    exact = _exact_types(descriptor)
    singles = [field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_FLOAT]

    def make(given: Mapping[str, Any]) -> Any:
        for name, value in given.items():
            if type(value) not in exact.get(name, ()):
                return None
        for name in singles:
            if name in given and not fits_float(given[name]):
                return None
        try:
            return cls(**given)
        except (ValueError, TypeError, OverflowError):
            # What is wrong is found field by field.
            return None

    return make


def _exact_types(descriptor: Descriptor) -> dict[str, frozenset[type]]:
    """Returns the types of values that protobuf can be given as they are, by the names of fields that have some."""
    shared = {field.name for _, fields in oneofs_of(descriptor) if len(fields) > 1 for field in fields}
    found: dict[str, frozenset[type]] = {}
    for field in descriptor.fields:
        if is_repeated(field) or field.name in shared:
            continue
        if field.type == FieldDescriptor.TYPE_ENUM:
            found[field.name] = _TEXTS
        elif field.type in EXACT:
            found[field.name] = EXACT[field.type]
    return found


def put_scalar(field: FieldDescriptor) -> Fill:
    """Returns a function that sets a field of a message to a value; it raises WrongError."""
    name = field.name
    convert = converter_of(field)
    exact = frozenset[type]() if field.type == FieldDescriptor.TYPE_FLOAT else EXACT.get(field.type, frozenset())

    def put(message: Any, value: Any, _: int) -> None:
        if type(value) in exact:
            try:
                setattr(message, name, value)
            except (ValueError, TypeError, OverflowError):
                # What is wrong is said below.
                pass
            else:
                return
        setattr(message, name, convert(value))

    return put


def into_scalars(field: FieldDescriptor) -> Fill:
    """Returns a function that fills the list of a field with values; it raises WrongError."""
    convert = converter_of(field)
    exact = EXACT.get(field.type, frozenset())
    is_single = field.type == FieldDescriptor.TYPE_FLOAT

    def fill(container: Any, value: Any, _: int) -> None:
        items = items_of(value)
        if exact.issuperset(map(type, items)) and not (is_single and not all(map(fits_float, items))):
            try:
                container.extend(items)
            except (ValueError, TypeError, OverflowError):
                # Which one it is, is said below; those before it may be there.
                del container[:]
            else:
                return
        problems = Problems()
        for place, item in enumerate(items):
            try:
                container.append(convert(item))
            except WrongError as error:
                problems.add(f"[{place}]", error)
        problems.end()

    return fill


def items_of(value: Any) -> Any:
    """Returns a list or a tuple, or an array as a list; raises WrongError for anything else."""
    if isinstance(value, list | tuple):
        return value
    items = whole_of(value)
    if not isinstance(items, list | tuple):
        raise wrong("a list", value)
    return items
