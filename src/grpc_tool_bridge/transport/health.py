"""The standard health service, with bounded memory: anyone may call it.

gRPC's own ``grpc.health.v1.Health`` reads a request of any size and keeps it as long as a watch is open. Callers of
this one need no token, so little is read from each connection, and a watch stores no name.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2

from grpc_tool_bridge.errors import NotFoundError, ResourceExhaustedError, SerializationError
from grpc_tool_bridge.transport.reads import Reads
from grpc_tool_bridge.transport.servicer import abort

SERVICE_NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# A request contains a name only, of at most 256 characters of four bytes.
MAX_REQUEST_BYTES = 2 * 1024

_Status = health_pb2.HealthCheckResponse


class HealthService:
    """The health service of a hub.

    Args:
        services: The known services; "" is the hub itself. All others stay unknown.
        reads: Reads the requests.
        max_watches: Maximum number of concurrent watches.
    """

    def __init__(self, services: Iterable[str], reads: Reads, *, max_watches: int) -> None:
        self._services = frozenset(services)
        self._reads = reads
        self._max_watches = max_watches
        self._watches = 0
        self._status: Any = _Status.SERVING
        self._changed: asyncio.Event = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Sets the status and notifies all watches."""
        self._status = _Status.SERVING if serving else _Status.NOT_SERVING
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def handler(self) -> Any:
        """Returns the handler of the service."""
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                "Check": grpc.stream_unary_rpc_method_handler(self._check),
                "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
            },
        )

    async def _check(self, _: Any, context: Any) -> Any:
        rpc = self._reads.enter(context, "Check")
        try:
            known = await self._is_known(context, rpc)
        except Exception as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)
            return None
        if not known:
            await abort(context, NotFoundError("the hub does not have this service; ask for '' or the hub's own"))
        return _Status(status=self._status).SerializeToString()

    async def _watch(self, _: Any, context: Any) -> None:
        rpc = self._reads.enter(context, "Watch")
        try:
            self._check_watches()
            known = await self._is_known(context, rpc)
        except Exception as error:  # noqa: BLE001 - every failure is a status
            await abort(context, error)
            return
        self._watches += 1
        try:
            await self._tell(context, known=known)
        finally:
            self._watches -= 1

    def _check_watches(self) -> None:
        if self._watches >= self._max_watches:
            raise ResourceExhaustedError(
                f"the hub has {self._watches:,} watches of its health, which is its limit (max_health_watches); "
                "ask with Check",
                details={"retry_after": "1"},
            )

    async def _tell(self, context: Any, *, known: bool) -> None:
        told: Any = None
        while True:
            changed = self._changed
            status = self._status if known else _Status.SERVICE_UNKNOWN
            if status != told:
                await context.write(_Status(status=status).SerializeToString())
                told = status
            await changed.wait()

    async def _is_known(self, context: Any, rpc: Any) -> bool:
        data = await self._reads.request(context, rpc, most=MAX_REQUEST_BYTES)
        try:
            return health_pb2.HealthCheckRequest.FromString(data).service in self._services
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
            raise SerializationError(f"the request cannot be read: {str(failure)[:200]}") from None
