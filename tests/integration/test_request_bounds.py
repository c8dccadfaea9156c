"""Every text, list and map of a request is bounded, over every transport, and no answer repeats what is too long."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from grpc_tool_bridge import ToolBridgeError, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS, Method
from grpc_tool_bridge.transport.status import RpcError, from_rpc_error
from integration.connections import Connect
from support.waiting import soon

# Of a text, of a list, and of a map: far more than any may have, and little enough to be sent.
CHARS = 300_000
ENTRIES = 20_000

# An error may repeat some two hundred characters, and says the rest in its own words.
MAX_ANSWER = 3_000

# What a request needs besides, so that it would succeed; the session is that of the bridge.
GIVEN: dict[str, dict[str, Any]] = {
    "RegisterTools": {"tools": [pb.ToolSpec(name="t")]},
    "ExecuteTool": {"tool_id": "add", "args": [serialize_value(1)]},
    "StreamTool": {"tool_id": "add", "args": [serialize_value(1)]},
    "BatchExecuteTools": {"items": [pb.ToolCallItem(tool_id="add", args=[serialize_value(1)])]},
    "SetSessionVariable": {"variable_name": "v", "value": serialize_value(1), "create_if_missing": True},
    "CreateReActAgent": {"signature": "q -> a"},
}

# Where a text that is too long is nobody's name: the error says so, and names the bound of a tool's id.
NOT_FOUND = {
    "ExecuteTool tool_id": "ToolNotFound",
    "StreamTool tool_id": "ToolNotFound",
    "ExecuteTool session_id": "SessionNotFound",
    "StreamTool session_id": "SessionNotFound",
    "BatchExecuteTools session_id": "SessionNotFound",
    "BatchExecuteTools items.tool_id": "ToolNotFound",
}


class Field(NamedTuple):
    """A field of a request, by its path."""

    method: Method
    path: tuple[FieldDescriptor, ...]

    def __str__(self) -> str:
        return f"{self.method.name} {'.'.join(field.name for field in self.path)}"


def fields_of(descriptor: Any, path: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Walks through all fields whose size is the sender's choice, those of parts included."""
    for field in descriptor.fields:
        part = field.message_type
        repeated = isinstance(field.default_value, list)
        if repeated or field.type == FieldDescriptor.TYPE_STRING:
            yield (*path, field)
        if part is not None and part.file.package == "dspex.bridge" and not part.GetOptions().map_entry:
            yield from fields_of(part, (*path, field))


# A hub that tells nobody apart does not offer them; tests/trust has one that does.
OF_OWNERS = {"ShareSession", "UnshareSession"}

FIELDS = [
    Field(method, path)
    for method in METHODS.values()
    if method.name not in {"Link", *OF_OWNERS}
    for path in fields_of(method.request.DESCRIPTOR)
]


def fill(message: Any, path: tuple[FieldDescriptor, ...]) -> None:
    """Puts too much into the field at the end of a path."""
    field, rest = path[0], path[1:]
    repeated = isinstance(field.default_value, list)
    if rest:
        part = getattr(message, field.name)
        if repeated:
            part = part[0] if part else part.add()
        fill(part, rest)
        part.SetInParent()
    elif repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        for number in range(ENTRIES):
            if value.type == FieldDescriptor.TYPE_STRING:
                getattr(message, field.name)[str(number)] = "x"
            else:
                getattr(message, field.name)[str(number)].SetInParent()
    elif repeated and field.message_type is not None:
        items = getattr(message, field.name)
        for _ in range(ENTRIES):
            items.add()
    elif repeated:
        getattr(message, field.name).extend(["x"] * ENTRIES)
    else:
        setattr(message, field.name, "x" * CHARS)


async def answers(call: Any) -> list[Message]:
    """Reads the answer or, of a stream, all of them."""
    if isinstance(call, AsyncIterator) or hasattr(call, "__aiter__"):
        return [message async for message in call]
    return [await call]


def error_in(message: Any) -> Any:
    if isinstance(message, pb.BatchToolCallResponse) and message.results:
        return message.results[0].error
    return message.error


async def test_there_is_something_to_try() -> None:
    assert {field.method.name for field in FIELDS} == METHODS.keys() - {"Link", *OF_OWNERS}
    assert len(FIELDS) > 80


def too_long(field: Field, session_id: str) -> Any:
    """Makes a request that would be answered, but for one field that is too long."""
    request: Any = field.method.request(**GIVEN.get(field.method.name, {}))
    if "session_id" in request.DESCRIPTOR.fields_by_name:
        request.session_id = session_id
    fill(request, field.path)
    if field.path[0].name == "tools" and len(field.path) > 1:
        # A tool is weighed as a whole.
        request.tools[0].description += "x" * 1_100_000
    return request


async def refusal(stub: Any, field: Field, session_id: str) -> tuple[str, str, int]:
    """Sends a request that is too long; returns type and text of the error, and the bytes of the answer."""
    request = too_long(field, session_id)
    try:
        messages = await soon(answers(getattr(stub, field.method.name)(request)))
    except (RpcError, ToolBridgeError) as raised:
        error = raised if isinstance(raised, ToolBridgeError) else from_rpc_error(raised, method="m", where="here")
        return error.error_type, error.message, len(error.message)
    error_info = error_in(messages[-1])
    return error_info.type, error_info.message, sum(message.ByteSize() for message in messages)


def is_right(field: Field, kind: str, text: str) -> bool:
    """Tells whether an error says which field is over which bound."""
    if str(field) in NOT_FOUND:
        return kind == NOT_FOUND[str(field)] and "xxx" in text
    name = "its spec" if field.path[0].name == "tools" and len(field.path) > 1 else field.path[-1].name
    of_batch = field.path[-1].name == "items" and "a batch has at most" in text
    return kind == "ValidationError" and (of_batch or (name in text and ("at most" in text or "limit" in text)))


async def test_what_is_too_long_is_refused_in_few_words(connect: Connect) -> None:
    async def add(a: int, b: int = 0) -> int:
        return a + b

    world = await connect(add)
    wrong = []
    # A tool is looked at where it can be called.
    fields = [field for field in FIELDS if world.has_link or field.path[0].name != "tools"]
    for field in fields:
        kind, text, size = await refusal(world.bridge.client.stub, field, world.session_id)
        if not is_right(field, kind, text) or size > MAX_ANSWER:
            wrong.append(f"{field}: {kind}, {size:,} bytes: {text:.200}")
    assert not wrong, "\n".join(wrong)
    assert await world.tools["add"](1, 2) == 3
