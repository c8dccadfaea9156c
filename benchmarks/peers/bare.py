"""The peer: grpc.aio with nothing around it.

A call takes and returns packed integers, without even a protobuf message. A chunk of the stream is a BytesValue, as the
least that a stub generated from a .proto would send.
"""

import struct
from collections.abc import AsyncGenerator
from typing import Any, Self

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from benchmarks.work import add, chunks

# Both methods take two integers of eight bytes, packed.
_PAIR = struct.Struct(">qq")
_ANSWER = struct.Struct(">q")
_SERVICE = "benchmarks.Bare"


class BareServer:
    """A grpc.aio server that adds, and streams chunks of 64 KiB, on a port of the loopback that is free."""

    def __init__(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers: dict[str, Any] = {
            "Add": grpc.unary_unary_rpc_method_handler(_add, _PAIR.unpack, _ANSWER.pack),
            "Chunks": grpc.unary_stream_rpc_method_handler(_chunks, _PAIR.unpack, BytesValue.SerializeToString),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._server.stop(1.0)


class BareClient:
    """Calls a BareServer.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._add: Any = self._channel.unary_unary(f"/{_SERVICE}/Add", _pack_pair, _unpack_answer)
        self._chunks: Any = self._channel.unary_stream(f"/{_SERVICE}/Chunks", _pack_pair, BytesValue.FromString)

    async def add(self, a: int, b: int) -> int:
        """Adds two integers by a call."""
        answer: int = await self._add((a, b))
        return answer

    async def chunks(self, seed: int, number: int) -> AsyncGenerator[bytes, None]:
        """Iterates over chunks."""
        async for message in self._chunks((seed, number)):
            yield message.value

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._channel.close()


async def _add(pair: tuple[int, int], _: Any) -> int:
    return await add(*pair)


async def _chunks(request: tuple[int, int], _: Any) -> AsyncGenerator[BytesValue, None]:
    async for chunk in chunks(*request):
        yield BytesValue(value=chunk)


def _pack_pair(pair: tuple[int, int]) -> bytes:
    return _PAIR.pack(*pair)


def _unpack_answer(data: bytes) -> int:
    answer: int = _ANSWER.unpack(data)[0]
    return answer
