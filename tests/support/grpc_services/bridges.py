"""Bridges to hubs whose tools are methods of gRPC services."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolExecutionError
from grpc_tool_bridge.adapters.grpc import GrpcService, import_grpc
from support.grpc_services.serving import honest_reflection, service_handler, serving
from support.grpc_services.weather import SERVICE, Weather
from support.waiting import soon


@asynccontextmanager
async def bridge_of(*sources: GrpcService, tools: Any = (), **options: Any) -> AsyncIterator[GRPCToolBridge]:
    """Opens a bridge with a session to a hub with these sources."""
    async with BridgeServer(tools=tools, sources=sources) as hub, GRPCToolBridge(hub.address, **options) as bridge:
        await bridge.initialize()
        yield bridge


def weather_handlers(weather: Weather, **reflection: Any) -> tuple[Any, Any]:
    """Returns the handlers of the weather service and its reflection."""
    handler = service_handler(weather.types, SERVICE, weather.handlers())
    return handler, honest_reflection(weather.types, [SERVICE], **reflection)


@asynccontextmanager
async def weather_bridge(weather: Weather | None = None, **options: Any) -> AsyncIterator[GRPCToolBridge]:
    """Serves the weather, takes it in as ``weather``, and opens a bridge to the hub that has."""
    async with (
        serving(*weather_handlers(weather or Weather())) as address,
        bridge_of(import_grpc(address, **{"name": "weather", **options})) as bridge,
    ):
        yield bridge


async def refused(call: Any, text: str = "") -> ToolExecutionError:
    """Returns the error of a call."""
    with pytest.raises(ToolExecutionError) as caught:
        await soon(call)
    assert re.search(text, str(caught.value)), str(caught.value)
    return caught.value


async def values_of(stream: Any) -> list[Any]:
    """Reads a stream to its end."""
    return [value async for value in stream]
