"""Names that mean something else in Python, and requests and responses of every form."""

from typing import Any

from mcp.client import Client

from grpc_tool_bridge import BridgeServer
from grpc_tool_bridge.adapters.grpc import import_grpc
from support.grpc_services.bridges import values_of
from support.grpc_services.compiled import types_of
from support.grpc_services.odd import odd_bridge, odd_handlers
from support.grpc_services.serving import serving
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


async def test_every_number_and_bytes_are_structured_content_for_mcp() -> None:
    async with (
        serving(*odd_handlers()) as address,
        BridgeServer(sources=[import_grpc(address, name="odd")], http_address="127.0.0.1:0") as hub,
        Client(f"http://{hub.http_address}/mcp") as client,
    ):
        await client.list_tools()
        for real in (1.5, "NaN", "-Infinity"):
            # The client checks it against the schema.
            result = await soon(client.call_tool("odd_Number", {"whole": 2**62 + 1, "real": real, "data": "eA=="}))
            assert result.structured_content == {"whole": 2**62 + 1, "real": real, "data": "eA=="}


async def test_requests_may_be_anything_that_gives_them_one_by_one() -> None:
    async with odd_bridge() as bridge:
        upload = bridge.tools["odd.Upload"]
        for requests in (({"whole": number} for number in range(3)), map(dict, [[("whole", 2)]]), ({"whole": 2},)):
            assert (await soon(upload(requests=requests)))["whole"] == 2
        stream = bridge.tools["odd.Chat"].stream(requests=({"whole": number} for number in range(3)))
        assert [value["whole"] for value in await soon(values_of(stream))] == [0, 1, 2]


async def test_operations_and_bodies_of_googles_apis_are_plain_data() -> None:
    async with odd_bridge() as bridge:
        operation = await soon(bridge.tools["odd.Start"](whole=5))
        response = {"@type": "type.googleapis.com/odd.v1.Numbers", "whole": 5, "real": 0.0, "data": b""}
        assert operation == {"name": "operations/1", "done": True, "response": response}
        body = {"content_type": "text/plain", "data": b"abc", "extensions": [response]}
        assert await soon(bridge.tools["odd.Body"](**body)) == body
