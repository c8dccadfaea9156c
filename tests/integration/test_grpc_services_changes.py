"""gRPC services that are restarted, changed, or away while a hub has them as tools."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from grpc_tool_bridge.adapters.grpc import GrpcService, import_grpc
from support.grpc_services.bridges import bridge_of, refused, weather_handlers
from support.grpc_services.changing import Switch, open_shop, shop_handlers
from support.grpc_services.compiled import PROTOS
from support.grpc_services.serving import serving
from support.grpc_services.weather import Weather
from support.waiting import soon, until

ONE = {"Buy": {"item": "string"}}
TWO = {"Buy": {"item": "string"}, "Sell": {"price": "int32"}}
CHANGED = {"Buy": {"item": "int64"}, "Sell": {"price": "int32"}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a doubt lead to another reading at once."""
    monkeypatch.setattr("grpc_tool_bridge.adapters.grpc.service._READ_AGAIN_SECONDS", 0.0)


class Shop:
    """A shop that is opened and closed at one address."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._open = AsyncExitStack()

    async def opened(self, methods: Any) -> None:
        await self.closed()
        await self._open.enter_async_context(open_shop(self.address, methods))

    async def closed(self) -> None:
        await self._open.aclose()


@pytest_asyncio.fixture
async def shop(unused_tcp_port: int) -> AsyncIterator[Shop]:
    made = Shop(unused_tcp_port)
    yield made
    await made.closed()


def tool_ids(source: GrpcService) -> dict[str, int]:
    return {tool.spec.name: id(tool) for tool in source.tools}


async def test_a_restart_costs_nothing(shop: Shop) -> None:
    await shop.opened(TWO)
    source = import_grpc(shop.address, name="shop")
    async with bridge_of(source) as bridge:
        before = tool_ids(source)
        tool = bridge.tools["shop.Buy"]
        await shop.closed()
        await until(lambda: source.away, "for the loss to be noticed")
        error = await refused(tool(item="a"))
        assert error.error_type == "WorkerUnavailable"
        assert error.retryable
        assert "Buy of the gRPC service shop: the service is not there: " in error.message
        assert "(since " in error.message
        assert "shop.Buy" in bridge.tools
        await shop.opened(TWO)
        await until(lambda: not source.away, "for its return")
        assert await soon(tool(item="b")) == {"item": "b"}
        assert tool_ids(source) == before


async def test_methods_come_and_go_with_the_service(shop: Shop) -> None:
    await shop.opened(ONE)
    source = import_grpc(shop.address, name="shop")
    async with bridge_of(source) as bridge:
        assert sorted(bridge.tools) == ["shop.Buy"]
        buy = tool_ids(source)["shop.Buy"]
        await shop.opened(TWO)
        await until(lambda: "shop.Sell" in bridge.tools, "for the new method")
        assert await soon(bridge.tools["shop.Sell"](price=3)) == {"price": 3}
        # What has not changed is the same tool.
        assert tool_ids(source)["shop.Buy"] == buy
        await shop.opened(ONE)
        await until(lambda: "shop.Sell" not in bridge.tools, "for the method to go")
        assert tool_ids(source) == {"shop.Buy": buy}


async def test_a_type_that_changes_changes_the_tools_of_its_methods(shop: Shop) -> None:
    await shop.opened(TWO)
    source = import_grpc(shop.address, name="shop")
    async with bridge_of(source) as bridge:
        before = tool_ids(source)
        assert await soon(bridge.tools["shop.Buy"](item="a")) == {"item": "a"}
        await shop.opened(CHANGED)
        await until(
            lambda: tool_ids(source).get("shop.Buy", before["shop.Buy"]) != before["shop.Buy"], "for the change"
        )
        assert await soon(bridge.tools["shop.Buy"](item=2**40)) == {"item": 2**40}
        assert tool_ids(source)["shop.Sell"] == before["shop.Sell"]


async def test_a_field_that_only_moves_is_a_change_too(shop: Shop) -> None:
    await shop.opened({"Buy": {"item": "string", "note": "string"}})
    source = import_grpc(shop.address, name="shop")
    async with bridge_of(source) as bridge:
        before = tool_ids(source)
        await shop.opened({"Buy": {"note": "string", "item": "string"}})
        await until(lambda: tool_ids(source) != before, "for the change")
        assert await soon(bridge.tools["shop.Buy"](item="a", note="b")) == {"item": "a", "note": "b"}


async def test_a_change_is_found_without_any_restart() -> None:
    switch = Switch(*shop_handlers(ONE))
    async with serving(switch) as address, bridge_of(import_grpc(address, name="shop", refresh=0.05)) as bridge:
        assert sorted(bridge.tools) == ["shop.Buy"]
        switch.handlers = shop_handlers(TWO)
        await until(lambda: "shop.Sell" in bridge.tools, "for the new method")


async def test_a_method_that_is_gone_has_the_service_read_again() -> None:
    switch = Switch(*shop_handlers(ONE))
    async with serving(switch) as address, bridge_of(import_grpc(address, name="shop", refresh=3_600)) as bridge:
        switch.handlers = shop_handlers({"Sell": {"price": "int32"}})
        error = await refused(bridge.tools["shop.Buy"](item="a"))
        assert error.error_type == "Unimplemented"
        await until(lambda: sorted(bridge.tools) == ["shop.Sell"], "for another reading")


async def test_a_response_with_unknown_fields_has_the_service_read_again() -> None:
    switch = Switch(*shop_handlers(ONE))
    async with serving(switch) as address, bridge_of(import_grpc(address, name="shop", refresh=3_600)) as bridge:
        tool = bridge.tools["shop.Buy"]
        switch.handlers = shop_handlers({"Buy": {"item": "string", "price": "int32"}}, {"Buy": {"price": 3}})
        assert await soon(tool(item="a")) == {"item": ""}
        await until(lambda: "price" in bridge.tools["shop.Buy"].spec.input_schema, "for another reading")
        assert await soon(bridge.tools["shop.Buy"](item="a")) == {"item": "", "price": 3}


async def test_what_stays_away_is_withdrawn_and_comes_back(shop: Shop) -> None:
    await shop.opened(TWO)
    source = import_grpc(shop.address, name="shop", away_seconds=0.05)
    async with bridge_of(source) as bridge:
        before = tool_ids(source)
        await shop.closed()
        await until(lambda: not bridge.tools, "for its tools to go")
        assert source.tools == []
        await shop.opened(TWO)
        await until(lambda: "shop.Buy" in bridge.tools, "for its tools to come back")
        assert tool_ids(source) == before
        assert await soon(bridge.tools["shop.Buy"](item="a")) == {"item": "a"}


@pytest.mark.parametrize("described", [False, True])
async def test_a_service_that_is_not_there_yet_is_waited_for(unused_tcp_port: int, described: bool) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    source = import_grpc(address, name="weather", proto=PROTOS / "weather.proto" if described else None)
    async with bridge_of(source) as bridge:
        assert ("weather.Get" in bridge.tools) is described
        await until(lambda: source.away, "for the service to be missed")
        if described:
            assert (await refused(bridge.tools["weather.Get"](city="Bern"))).error_type == "WorkerUnavailable"
        async with serving(*weather_handlers(Weather()), address=address):
            await until(lambda: "weather.Get" in bridge.tools and not source.away, "for the service")
            assert (await soon(bridge.tools["weather.Get"](city="Bern")))["city"] == "Bern"


async def test_a_described_service_that_goes_is_withdrawn(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    source = import_grpc(address, name="weather", proto=PROTOS / "weather.proto", away_seconds=0.05)
    async with bridge_of(source) as bridge:
        async with serving(*weather_handlers(Weather()), address=address):
            await until(lambda: not source.away and "weather.Get" in bridge.tools, "for the service")
        await until(lambda: not bridge.tools, "for its tools to go")
        async with serving(*weather_handlers(Weather()), address=address):
            await until(lambda: "weather.Get" in bridge.tools, "for its tools to come back")


async def test_calls_that_run_when_the_service_ends_fail() -> None:
    weather = Weather()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(*weather_handlers(weather)))
        async with bridge_of(import_grpc(address, name="weather")) as bridge:
            task = asyncio.ensure_future(bridge.tools["weather.Wait"](city="Bern"))
            await soon(weather.begun.wait())
            await stack.aclose()
            error = await refused(task)
            assert error.error_type in ("WorkerUnavailable", "Cancelled", "UnknownError")
