"""Bounds on the length and number of a request's texts.

Every text, list and map of every request has a bound: that of its field in ``_BOUNDS``, else the default. So a field
that is added to a request is bounded from the start. Checking a bound takes no more than the length of a text or the
count of a list, so it is done before any work.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Names and ids of every kind.
MAX_NAME_CHARS = 256
# Texts of one list, entries of one map, and characters of one map in total.
MAX_TEXTS = 1_000
MAX_MAP_CHARS = 65_536
# Arguments of one call by position, and likewise by name; tools and ids of tools in one request.
MAX_ITEMS = 10_000
MAX_TAGS = 100
MAX_WANTED_TAGS = 32
MAX_ADDRESS_CHARS = 2_048
MAX_SIGNATURE_CHARS = 262_144
# An id of any characters, as base64, and the hub that has it.
MAX_TOKEN_CHARS = 2_048 + 64

# Tool specs in one message, in either direction: gRPC's default limit with room for the other fields, and fewer nodes
# than a message may have (``MAX_MESSAGE_NODES``).
PAGE_BYTES = 4 * 1024 * 1024 - 8_192
PAGE_NODES = 200_000
# Fields of a spec without its return type, and of an argument or a return type.
_SPEC_NODES = 22
_ARGUMENT_NODES = 16

# How much of a foreign text an error repeats.
MAX_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound of one field.

    Attributes:
        chars: Of one text, or one key of a map.
        count: Entries of a list or a map.
        all_chars: Of all keys and texts of a map.
    """

    chars: int = MAX_NAME_CHARS
    count: int = MAX_TEXTS
    all_chars: int = MAX_MAP_CHARS


_BOUND = Bound()
_ITEMS = replace(_BOUND, count=MAX_ITEMS)
_BOUNDS: Mapping[str, Bound] = {
    "InitializeSessionRequest.callback_address": replace(_BOUND, chars=MAX_ADDRESS_CHARS),
    "RegisterToolsRequest.tools": _ITEMS,
    "UnregisterToolsRequest.tool_ids": _ITEMS,
    "ToolCallRequest.args": _ITEMS,
    "ToolCallRequest.kwargs": _ITEMS,
    "ToolStreamRequest.args": _ITEMS,
    "ToolStreamRequest.kwargs": _ITEMS,
    "ToolCallItem.args": _ITEMS,
    "ToolCallItem.kwargs": _ITEMS,
    # Bounded by the hub's setting max_batch_items.
    "BatchToolCallRequest.items": replace(_BOUND, count=2**31),
    "VariableMetadata.tags": replace(_BOUND, count=MAX_TAGS),
    "ListVariablesRequest.tags": replace(_BOUND, chars=MAX_NAME_CHARS + 1 + MAX_MAP_CHARS, count=MAX_WANTED_TAGS),
    "CreateReActAgentRequest.signature": replace(_BOUND, chars=MAX_SIGNATURE_CHARS),
    "ListSessionsRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
    "ListWorkersRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
    "ListCallsRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
    "ListApprovalsRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
    "ListRunsRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
    "ListOffersRequest.page_token": replace(_BOUND, chars=MAX_TOKEN_CHARS),
}
# Checked one by one when they are registered.
_UNCHECKED = frozenset({"ToolSpec"})


def check_request(request: Message, size: int | None = None) -> None:
    """Checks the texts, lists and maps of a request.

    Args:
        request: The request.
        size: Its bytes, if they are known: what is small enough exceeds no bound, and is not looked at.

    Raises:
        ValidationError: A field exceeds its bound; the error names both.
    """
    if size is not None and size <= _small_for(request.DESCRIPTOR):
        return
    for check in _checks_of(request.DESCRIPTOR):
        check(request)


def shown(text: str) -> str:
    """Quotes a foreign text for an error, shortened if it is long."""
    quoted = repr(text[:MAX_SHOWN_CHARS])
    if len(text) <= MAX_SHOWN_CHARS and len(quoted) <= MAX_SHOWN_CHARS + 2:
        return quoted
    # A character that is not printable takes up to ten.
    return f"{repr(text[:64])[:MAX_SHOWN_CHARS]}…"


Check = Callable[[Any], None]


@cache
def _checks_of(descriptor: Descriptor) -> tuple[Check, ...]:
    texts = [(field.name, _bound_of(field).chars) for field in descriptor.fields if _is_text(field)]
    others = [check for field in descriptor.fields if (check := _check_of(field)) is not None]
    return (_texts_check(texts), *others) if texts else tuple(others)


@cache
def _small_for(descriptor: Descriptor) -> int:
    """Returns how many bytes a message may have so that it cannot exceed a bound.

    A text takes a byte for each character, a list or a map two for each entry.
    """
    found, parts = {descriptor}, [descriptor]
    bounds = [_BOUND]
    for part in parts:
        bounds += map(_bound_of, part.fields)
        inner = {field.message_type for field in part.fields if field.message_type is not None} - found
        found |= inner
        parts += filter(_is_ours, inner)
    return min(min(bound.chars, 2 * bound.count, bound.all_chars) for bound in bounds)


def _bound_of(field: FieldDescriptor) -> Bound:
    owner = field.containing_type
    return _BOUNDS.get(f"{owner.name}.{field.name}", _BOUND) if owner is not None else _BOUND


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and not isinstance(field.default_value, list)


def _check_of(field: FieldDescriptor) -> Check | None:
    bound = _bound_of(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_check(field.name, field.message_type.fields_by_name["value"], bound)
    if isinstance(field.default_value, list):
        return _list_check(field, bound)
    if field.message_type is not None and _is_ours(field.message_type):
        return _part_check(field.name, field.message_type)
    return None


def _is_ours(descriptor: Descriptor) -> bool:
    return descriptor.file.package == "dspex.bridge" and descriptor.name not in _UNCHECKED


def _texts_check(bounds: Sequence[tuple[str, int]]) -> Check:
    def check(message: Any) -> None:
        for name, most in bounds:
            text = getattr(message, name)
            if len(text) > most:
                raise _too_long(name, text, most)

    return check


def _list_check(field: FieldDescriptor, bound: Bound) -> Check:
    name, most = field.name, bound.count
    is_text = field.type == FieldDescriptor.TYPE_STRING
    part = field.message_type if field.message_type is not None and _is_ours(field.message_type) else None

    def check(message: Any) -> None:
        items = getattr(message, name)
        if not items:
            return
        if len(items) > most:
            raise _too_many(name, len(items), most)
        if is_text:
            for text in items:
                if len(text) > bound.chars:
                    raise _too_long(f"one of {name}", text, bound.chars)
        elif part is not None and most <= MAX_ITEMS:
            for item in items:
                check_request(item)

    return check


def _map_check(name: str, value: FieldDescriptor, bound: Bound) -> Check:
    has_texts = value.type == FieldDescriptor.TYPE_STRING

    def check(message: Any) -> None:
        items = getattr(message, name)
        if not items:
            return
        if len(items) > bound.count:
            raise _too_many(name, len(items), bound.count)
        size = 0
        for key in items:
            if len(key) > bound.chars:
                raise _too_long(f"a name in {name}", key, bound.chars)
            if has_texts:
                size += len(key) + len(items[key])
        if size > bound.all_chars:
            raise ValidationError(
                f"{name} has at most {bound.all_chars:,} characters in all; this has {size:,}: "
                "put what is large into variables"
            )

    return check


def _part_check(name: str, part: Descriptor) -> Check:
    def check(message: Any) -> None:
        if message.HasField(name):
            for inner in _checks_of(part):
                inner(getattr(message, name))

    return check


def _too_long(name: str, text: str, most: int) -> ValidationError:
    return ValidationError(
        f"{name} has at most {most:,} characters; this one has {len(text):,}: {shown(text)}",
        details={"field": name.rpartition(" ")[2], "limit": str(most)},
    )


def _too_many(name: str, count: int, most: int) -> ValidationError:
    return ValidationError(
        f"{name} has at most {most:,} entries; this one has {count:,}: send fewer at once",
        details={"field": name, "limit": str(most)},
    )


def spec_nodes(spec: ToolSpec) -> int:
    """Returns the maximum number of nodes of a tool's spec."""
    lists = 2 * len(spec.metadata) + len(spec.examples) + len(spec.validation.custom_rules)
    arguments = sum(
        _ARGUMENT_NODES + len(argument.allowed_values) + len(argument.validation.custom_rules)
        for argument in (*spec.arguments, spec.return_type)
    )
    return _SPEC_NODES + lists + arguments


def spec_pages(specs: Iterable[ToolSpec], max_message_bytes: int) -> Iterator[Sequence[ToolSpec]]:
    """Splits specs into pages that fit into one request each; without specs there is one empty page."""
    room = min(PAGE_BYTES, max_message_bytes // 2)
    page: list[ToolSpec] = []
    size = nodes = 0
    for spec in specs:
        size += spec.ByteSize()
        nodes += spec_nodes(spec)
        if page and (size > room or nodes > PAGE_NODES):
            yield page
            page, size, nodes = [], spec.ByteSize(), spec_nodes(spec)
        page.append(spec)
    yield page
