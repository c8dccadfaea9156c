"""Servers of asyncio."""

import asyncio
import contextlib


async def close_server(server: asyncio.Server) -> None:
    """Closes a server; its connections stay open, also one that was just accepted.

    A server that is closed before such a connection has reached it leaves that open, and never serves it; see
    https://github.com/python/cpython/issues/109564.
    """
    for listener in server.sockets:
        # Another event loop than asyncio's own may not let go of it, nor need it.
        with contextlib.suppress(RuntimeError, ValueError):
            asyncio.get_running_loop().remove_reader(listener)
    await asyncio.sleep(0)
    server.close()
