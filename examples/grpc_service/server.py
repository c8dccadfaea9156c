"""A gRPC service as its author would write it: nothing here knows of the bridge.

    python examples/grpc_service/server.py --address 127.0.0.1:5000

Its messages are generated at the start, by grpcio-tools. ``--no-reflection`` leaves reflection out, as many services in
production do.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha import reflection

sys.path.insert(0, str(Path(__file__).parent))
messages: Any
services: Any
messages, services = grpc.protos_and_services("inventory.proto")

UPDATED = Timestamp(seconds=1_764_498_600)
ITEMS = (("tea-01", "Green tea", 450, 12), ("tea-02", "Black tea", 390, 0), ("cup-01", "Cup", 1_200, 3))


class Inventory(services.InventoryServicer):  # type: ignore[misc]
    """The service; its stock is in memory."""

    def __init__(self) -> None:
        self._stock = {sku: (title, price, count) for sku, title, price, count in ITEMS}

    def _item(self, sku: str) -> Any:
        title, price, count = self._stock[sku]
        state = messages.STATE_ON_SALE if count else messages.STATE_SOLD_OUT
        return messages.Item(sku=sku, title=title, price_cents=price, in_stock=count, state=state, updated=UPDATED)

    async def GetItem(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the proto
        """Finds one item."""
        if request.sku not in self._stock:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no item {request.sku!r}")
        return self._item(request.sku)

    async def ListItems(self, request: Any, _: Any) -> AsyncIterator[Any]:  # noqa: N802 - likewise
        """Lists items."""
        items = [self._item(sku) for sku in sorted(self._stock)]
        found = [item for item in items if request.state in (messages.STATE_UNSPECIFIED, item.state)]
        for item in found[: request.limit if request.HasField("limit") else None]:
            yield item

    async def Receive(self, requests: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802 - likewise
        """Takes deliveries in."""
        deliveries = [delivery async for delivery in requests]
        for delivery in deliveries:
            if delivery.sku not in self._stock:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no item {delivery.sku!r}")
        for delivery in deliveries:
            title, price, count = self._stock[delivery.sku]
            self._stock[delivery.sku] = title, price, count + delivery.quantity
        stock = {delivery.sku: self._stock[delivery.sku][2] for delivery in deliveries}
        return messages.ReceiveResponse(deliveries=len(deliveries), in_stock=stock)


async def serve(address: str, *, has_reflection: bool) -> None:
    """Serves until the process is ended."""
    server = grpc.aio.server()
    services.add_InventoryServicer_to_server(Inventory(), server)
    if has_reflection:
        name = messages.DESCRIPTOR.services_by_name["Inventory"].full_name
        reflection.enable_server_reflection((name, reflection.SERVICE_NAME), server)
    host, _, _ = address.rpartition(":")
    port = server.add_insecure_port(address)
    await server.start()
    print(f"serving on {host}:{port}", flush=True)
    await server.wait_for_termination()


def main(words: Sequence[str] | None = None) -> None:
    """Reads the command line, and serves."""
    parser = argparse.ArgumentParser(description="An inventory over gRPC.")
    parser.add_argument("--address", default="127.0.0.1:5000", help="HOST:PORT; port 0 picks a free one")
    parser.add_argument("--no-reflection", action="store_true", help="do not describe the service")
    given = parser.parse_args(words)
    asyncio.run(serve(given.address, has_reflection=not given.no_reflection))


if __name__ == "__main__":
    main()
