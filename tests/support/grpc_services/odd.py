"""A service that returns what it is given, under names that have other meanings in Python."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.adapters.grpc import import_grpc
from support.grpc_services.bridges import bridge_of
from support.grpc_services.compiled import types_of
from support.grpc_services.serving import honest_reflection, service_handler, serving

SERVICE = "odd.v1.Odd"


async def _echo(request: Any, context: Any) -> Any:
    return request


async def _twice(request: Any, context: Any) -> AsyncIterator[Any]:
    for _ in range(2):
        yield request


async def _last(requests: AsyncIterator[Any], context: Any) -> Any:
    last = types_of("odd.proto").message("odd.v1.Numbers")()
    async for request in requests:
        last = request
    return last


async def _each(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield request


async def _start(request: Any, context: Any) -> Any:
    operation = types_of("odd.proto").message("google.longrunning.Operation")(name="operations/1", done=True)
    operation.response.Pack(request)
    return operation


_ECHOES = ("Name", "Number", "Widen", "Body", "Object", "Anything", "Typed", "Wrapped")


def odd_handlers(**others: Any) -> tuple[Any, Any]:
    """Returns the handlers of the service and its reflection; ``others`` are methods that do something else."""
    types = types_of("odd.proto")
    methods = {
        **dict.fromkeys(_ECHOES, _echo), "WidenAll": _twice, "Upload": _last, "Chat": _each, "Start": _start, **others
    }  # fmt: skip
    return service_handler(types, SERVICE, methods), honest_reflection(types, [SERVICE])


@asynccontextmanager
async def odd_bridge(*, methods: Any = None, **options: Any) -> AsyncIterator[GRPCToolBridge]:
    """Serves it, takes it in as ``odd``, and opens a bridge to the hub that has."""
    async with (
        serving(*odd_handlers(**(methods or {}))) as address,
        bridge_of(import_grpc(address, name="odd"), **options) as bridge,
    ):
        yield bridge
