"""Calls that were made for a link, and are sent as plain RPCs because the hub does not support Link."""

import asyncio
from typing import Any

from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.link.dialer import CLOSED
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.rpc.buffers import Payload, joined


class PlainCalls:
    """Sends each call of a ``LinkStub`` as a plain RPC.

    Args:
        channel: To the hub.
        tasks: The owner of the tasks that wait for answers.

    Attributes:
        channel: As given.
    """

    enforces_timeouts = False

    def __init__(self, channel: Any, tasks: TaskSet) -> None:
        self.channel = channel
        self._tasks = tasks
        self._rpcs: dict[Any, Any] = {}

    def send(self, call: Any, payload: Payload) -> None:
        """Starts the RPC of a call."""
        method = call.method
        # The payload is serialized already.
        make = self.channel.unary_stream if method.response_streaming else self.channel.unary_unary
        rpc = self._rpcs[call] = make(method.path)(
            joined(payload), timeout=call.time_remaining(), metadata=call.metadata
        )
        call.carrier = self
        call.add_done_callback(self._rpcs.pop)
        task = self._tasks.spawn(_carry(call, rpc), f"{method.name} as a plain RPC")
        # A call that has its answer ignores this.
        task.add_done_callback(lambda _: call.fail(link_error(Code.CANCELLED, CLOSED)))

    def cancel(self, call: Any) -> None:
        """Cancels the RPC."""
        rpc = self._rpcs.get(call)
        if rpc is not None:
            rpc.cancel()

    def grant(self, call: Any, size: int) -> None:
        """Does nothing: gRPC has its own flow control."""


async def _carry(call: Any, rpc: Any) -> None:
    """Passes the answer of an RPC to its call."""
    try:
        if call.streaming:
            async for payload in rpc:
                call.on_message(payload)
            call.succeed()
        else:
            payload = await rpc
            call.take_trailing(await rpc.trailing_metadata())
            call.on_reply(payload)
    except AioRpcError as error:
        call.fail(error)
    except asyncio.CancelledError:
        # gRPC itself does so, except while it waits for the request to be sent.
        rpc.cancel()
        raise
