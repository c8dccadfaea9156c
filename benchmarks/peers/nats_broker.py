"""NATS: a request goes through a broker to a responder, and its answer back the same way."""

import asyncio
import re
import struct
from asyncio.subprocess import PIPE, Process
from typing import Self

import nats
from nats.aio.msg import Msg

from benchmarks.programs import NATS_SERVER, where
from benchmarks.work import add

_PAIR = struct.Struct(">qq")
_ANSWER = struct.Struct(">q")
_SUBJECT = "add"
_START_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_LISTENING = re.compile(rb"Listening for client connections on (\S+)")


class NatsServer:
    """A broker on a port of the loopback that is free, and a responder in this process that adds."""

    def __init__(self) -> None:
        self.address = ""

    async def __aenter__(self) -> Self:
        self._broker = await asyncio.create_subprocess_exec(
            where(NATS_SERVER) or NATS_SERVER, "--addr", "127.0.0.1", "--port", "-1", stderr=PIPE
        )
        self.address = await _listening(self._broker)
        self._connection = await nats.connect(self.address)
        await self._connection.subscribe(_SUBJECT, cb=_answer)
        await self._connection.flush()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._connection.close()
        self._broker.terminate()
        await self._broker.wait()


class NatsClient:
    """Calls a NatsServer.

    Args:
        address: ``nats://host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    async def add(self, a: int, b: int) -> int:
        """Adds two integers by a request."""
        message = await self._connection.request(_SUBJECT, _PAIR.pack(a, b), timeout=_ANSWER_SECONDS)
        answer: int = _ANSWER.unpack(message.data)[0]
        return answer

    async def __aenter__(self) -> Self:
        self._connection = await nats.connect(self._address)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._connection.close()


async def _listening(broker: Process) -> str:
    """Waits until the broker has logged its address."""
    assert broker.stderr is not None  # it was started with a pipe
    async with asyncio.timeout(_START_SECONDS):
        async for line in broker.stderr:
            if found := _LISTENING.search(line):
                return f"nats://{found[1].decode()}"
    raise RuntimeError(f"nats-server ended with {await broker.wait()} before it listened")


async def _answer(message: Msg) -> None:
    await message.respond(_ANSWER.pack(await add(*_PAIR.unpack(message.data))))
