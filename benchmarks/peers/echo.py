"""The floor for Python: an echo of 100 bytes over TCP, with nothing but asyncio."""

import asyncio
from typing import Self

from benchmarks.work import WrongAnswerError

MESSAGE_BYTES = 100


class EchoServer:
    """Sends back what it gets, on a free loopback port."""

    def __init__(self) -> None:
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()


class EchoClient:
    """Calls an EchoServer, one call at a time.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    async def add(self, a: int, b: int) -> int:
        """Has 100 bytes echoed that hold two integers, and adds what came back.

        Raises:
            WrongAnswerError: Other bytes came back.
        """
        message = (a.to_bytes(8, "big") + b.to_bytes(8, "big")).ljust(MESSAGE_BYTES, b".")
        echo = await self._waiting.exchange(message)
        if echo != message:
            raise WrongAnswerError(f"{message!r} was echoed as {echo!r}")
        return int.from_bytes(echo[:8], "big") + int.from_bytes(echo[8:16], "big")

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        _, self._waiting = await asyncio.get_running_loop().create_connection(_Waiting, host, int(port))
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._waiting.transport.close()


class _Connected(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # a TCP connection is one
        self.transport = transport


class _Echo(_Connected):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Waiting(_Connected):
    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""

    async def exchange(self, message: bytes) -> bytes:
        self._answer, self._received = asyncio.get_running_loop().create_future(), b""
        self.transport.write(message)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= MESSAGE_BYTES and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._received)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the echo server closed the connection"))
