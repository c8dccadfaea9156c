"""Listens in on what goes between a hub and those who reach it, on a real socket, as bytes.

It knows gRPC and the names of the service's methods, and nothing of the package: what it notes is what a program in
another language would see.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import grpc
import grpc.aio

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE

Metadata = tuple[tuple[str, str | bytes], ...]
Kind = Literal["begin", "sent", "answered", "cancelled", "end"]

_SHAPES = pb.DESCRIPTOR.services_by_name["SnakepitBridge"].methods_by_name
_UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_CHANNEL_OPTIONS = [
    *_UNBOUNDED,
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Each party has a connection of its own, as without a wiretap.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that was seen of an RPC.

    Attributes:
        party: Who made the RPC.
        rpc: Its number among all that were seen.
        method: Its path.
        kind: "begin"; a message "sent" by the party or "answered" by the hub; "cancelled" by the party; the "end".
        message: What was sent or answered.
        metadata: What came with the begin, or with the end.
        has_deadline: Of a begin.
        code, details: The status, of an end.
    """

    party: str
    rpc: int
    method: str
    kind: Kind
    message: bytes = b""
    metadata: Metadata = ()
    has_deadline: bool = False
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""


class Wiretap:
    """Notes all that goes to one hub and back.

    ``async with Wiretap(hub_address) as tap``, and then ``await tap.open("client")`` is the address for a party to use
    in place of the hub's.

    Args:
        address: The hub's.

    Attributes:
        notes: What was seen so far, in order.
        running: The RPCs that are not over.
    """

    def __init__(self, address: str) -> None:
        self.notes: list[Note] = []
        self._address = address
        self.running: set[_Rpc] = set()
        self._rpcs = 0
        self._noted = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    async def open(self, party: str) -> str:
        """Listens for one party more; returns where."""
        channel = grpc.aio.insecure_channel(self._address, options=_CHANNEL_OPTIONS)
        self._stack.push_async_callback(channel.close)
        server = grpc.aio.server(options=[*_UNBOUNDED, ("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_Forwarding(self, party, channel),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._stack.push_async_callback(server.stop, None)
        return f"127.0.0.1:{port}"

    def note(self, note: Note) -> None:
        """Takes down what was seen."""
        self.notes.append(note)
        self._noted.set()

    def cut(self, party: str) -> None:
        """Breaks off every RPC of a party that runs, for both sides."""
        for rpc in [each for each in self.running if each.party == party]:
            rpc.cut()

    async def until(self, condition: Callable[[Sequence[Note]], object]) -> None:
        """Waits until ``condition(notes)`` holds; fails where it does not within the patience."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self.notes):
                self._noted.clear()
                await self._noted.wait()

    def next_rpc(self) -> int:
        """Returns the number of an RPC that begins."""
        self._rpcs += 1
        return self._rpcs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


class _Forwarding(grpc.GenericRpcHandler):
    """Takes every RPC of a party; to gRPC a unary message is a stream of one, so one handler serves all methods."""

    def __init__(self, tap: Wiretap, party: str, channel: grpc.aio.Channel) -> None:
        self._tap = tap
        self._party = party
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        rpc = _Rpc(self._tap, self._party, self._channel, details)
        return grpc.stream_stream_rpc_method_handler(rpc.forward)


class _Rpc:
    def __init__(self, tap: Wiretap, party: str, channel: grpc.aio.Channel, details: Any) -> None:
        self._tap = tap
        self._channel = channel
        self._method = str(details.method)
        self._shape = _SHAPES[self._method.rpartition("/")[2]]
        self.party = party
        self._number = tap.next_rpc()
        self._call: Any = None
        self._is_cut = False

    def cut(self) -> None:
        """Breaks it off for both sides."""
        self._is_cut = True
        self._call.cancel()

    async def forward(self, messages: AsyncIterator[bytes], context: Any) -> None:
        metadata = tuple((key, value) for key, value in context.invocation_metadata() if key != "user-agent")
        deadline = context.time_remaining()
        self._note("begin", metadata=metadata, has_deadline=deadline is not None)
        sending: asyncio.Task[None] | None = None
        try:
            if self._shape.client_streaming:
                self._call = self._channel.stream_stream(self._method)(metadata=metadata, timeout=deadline)
                sending = asyncio.create_task(self._send(self._call, messages))
            else:
                # Begun with its request: gRPC may lose the status of an RPC that is refused before a message is sent.
                request = await self._only(messages)
                self._call = getattr(self._channel, self._kind)(self._method)(
                    request, metadata=metadata, timeout=deadline
                )
            self._tap.running.add(self)
            await self._answer(self._call, context)
        except asyncio.CancelledError:
            self._note("cancelled")
            raise
        finally:
            self._tap.running.discard(self)
            if self._call is not None:
                self._call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    @property
    def _kind(self) -> str:
        return "unary_stream" if self._shape.server_streaming else "unary_unary"

    async def _only(self, messages: AsyncIterator[bytes]) -> bytes:
        request = [message async for message in messages]
        self._note("sent", message=request[0])
        return request[0]

    async def _send(self, call: Any, messages: AsyncIterator[bytes]) -> None:
        # A write fails where the hub has ended the RPC, whose status then says why.
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            async for message in messages:
                self._note("sent", message=message)
                await call.write(message)
            await call.done_writing()

    async def _answers(self, call: Any) -> AsyncIterator[bytes]:
        if not self._shape.server_streaming:
            yield await call
            return
        while (message := await call.read()) is not grpc.aio.EOF:
            yield message

    async def _answer(self, call: Any, context: Any) -> None:
        try:
            await context.send_initial_metadata(_given(await call.initial_metadata()))
            async for message in self._answers(call):
                self._note("answered", message=message)
                await context.write(message)
        except grpc.aio.AioRpcError:
            # The status below says it.
            pass
        except asyncio.CancelledError:
            # gRPC raises it also where the status is CANCELLED, by the hub's answer or since the RPC was cut.
            if _is_cancelled():
                raise
        code, details, trailing = await call.code(), await call.details(), _given(await call.trailing_metadata())
        if self._is_cut:
            code, details, trailing = grpc.StatusCode.UNAVAILABLE, "the wiretap broke it off", ()
        self._note("end", code=code, details=details, metadata=trailing)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, details, trailing)
        context.set_trailing_metadata(trailing)

    def _note(self, kind: Kind, **facts: Any) -> None:
        self._tap.note(Note(party=self.party, rpc=self._number, method=self._method, kind=kind, **facts))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _given(metadata: Sequence[tuple[str, str | bytes]] | None) -> Metadata:
    return tuple(metadata or ())
