"""Toxiproxy's API, served in the running event loop."""

import asyncio

import uvicorn

from grpc_tool_bridge.gateway.quiet_server import QuietServer
from grpc_tool_bridge.testing.toxiproxy.api import Api
from grpc_tool_bridge.testing.toxiproxy.collection import ProxyCollection
from grpc_tool_bridge.testing.toxiproxy.listening import listen
from grpc_tool_bridge.transport.addresses import join_address


class ToxiproxyServer:
    """Proxies, and the API that makes and changes them.

    Args:
        host: Where the API listens.
        port: Its port; 0 picks a free one.
        seed: Of the chances of all toxics.

    Attributes:
        proxies: The proxies.
    """

    def __init__(self, host: str, port: int, *, seed: int) -> None:
        self.proxies = ProxyCollection(seed)
        self._wanted = join_address(host, port)
        self._address: str | None = None
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where the API listens; once started, with the port that it got."""
        return self._address or self._wanted

    async def start(self) -> None:
        """Begins to serve.

        Raises:
            ValueError: The address is not valid.
            OSError: It cannot listen there.
        """
        listener = await listen(self._wanted)
        self._address = join_address(*listener.getsockname()[:2])
        config = uvicorn.Config(
            Api(self.proxies).app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = QuietServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="toxiproxy")
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Ends the API, and then all proxies; also where it has not started."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self.proxies.aclose()
