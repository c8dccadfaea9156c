"""Calls that were made for a link, and go as plain RPCs because the hub knows no links."""

from typing import Any

import grpc
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.link.connection import CLOSED
from grpc_tool_bridge.transport.link_calls import LinkCall, LinkStreamCall, LinkUnaryCall
from grpc_tool_bridge.transport.status import rpc_error


class PlainCalls:
    """Makes an RPC of each call.

    Args:
        channel: Where to.
        tasks: Owner of what waits for the answers.
    """

    looks_after_calls = False

    def __init__(self, channel: Any, tasks: TaskSet) -> None:
        self._channel = channel
        self._tasks = tasks
        self._rpcs: dict[LinkCall, Any] = {}

    def send(self, call: LinkCall, payload: bytes) -> None:
        """Begins the RPC of a call."""
        method = call.method
        # The payload is serialized already.
        make = self._channel.unary_stream if method.response_streaming else self._channel.unary_unary
        rpc = self._rpcs[call] = make(method.path)(payload, timeout=call.time_remaining(), metadata=call.metadata)
        call.carrier = self
        call.add_done_callback(self._rpcs.pop)
        task = self._tasks.spawn(_carry(call, rpc), f"{method.name} as a plain RPC")
        # Only a call whose answer nobody brought has not ended then.
        task.add_done_callback(lambda _: call.fail(rpc_error(grpc.StatusCode.CANCELLED, CLOSED)))

    def cancel(self, call: LinkCall) -> None:
        """Cancels the RPC."""
        rpc = self._rpcs.get(call)
        if rpc is not None:
            rpc.cancel()

    def grant(self, call: LinkCall, size: int) -> None:
        """Does nothing: gRPC has its own flow control."""


async def _carry(call: LinkCall, rpc: Any) -> None:
    """Brings the answer of an RPC to its call."""
    try:
        if isinstance(call, LinkStreamCall):
            async for payload in rpc:
                call.arrived(payload)
            call.succeed()
        elif isinstance(call, LinkUnaryCall):
            payload = await rpc
            call.take_trailing(await rpc.trailing_metadata())
            call.replied(payload)
    except AioRpcError as error:
        call.fail(error)
