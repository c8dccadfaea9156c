"""An HTTP proxy on loopback that opens connections by CONNECT and counts them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ConnectProxy:
    """The proxy.

    Attributes:
        address: Where it listens.
        asked: Of each connection, the head of what it was asked.
        answer: What it answers; anything but a 200 ends the connection.
    """

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[str] = []
        self.answer = "HTTP/1.1 200 OK"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until either side ends it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        writer.write(f"{self.answer}\r\n\r\n".encode())
        if " 200 " in self.answer:
            host, _, port = head.split()[1].rpartition(":")
            from_hub, to_hub = await asyncio.open_connection(host.strip("[]"), int(port))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(reader, to_hub))
                ways.create_task(_pass(from_hub, writer))
        writer.close()


@asynccontextmanager
async def connect_proxy() -> AsyncIterator[ConnectProxy]:
    """Runs a proxy while inside."""
    proxy = ConnectProxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.address = "{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield proxy
    finally:
        server.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
