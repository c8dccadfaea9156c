"""Names that mean something else in Python, and requests and responses of every form."""

from typing import Any

from support.grpc_services.compiled import types_of
from support.grpc_services.odd import odd_bridge
from support.waiting import soon


async def test_a_field_may_have_any_name() -> None:
    fields: Any = types_of("odd.proto").message("odd.v1.Names").DESCRIPTOR.fields
    named: dict[str, Any] = {field.name: field.name for field in fields}
    named |= {"SerializeToString": b"data", "UnknownFields": [{"self": "inner", "SerializeToString": b""}]}
    async with odd_bridge() as bridge:
        tool = bridge.tools["odd.Name"]
        result = await soon(tool(**named))
        inner = result.pop("UnknownFields")
        assert result == {name: value for name, value in named.items() if name != "UnknownFields"}
        assert (inner[0]["self"], inner[0]["SerializeToString"]) == ("inner", b"")
        for name, value in named.items():
            assert (await soon(tool(**{name: value})))[name] == value or name == "UnknownFields"
