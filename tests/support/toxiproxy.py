"""Toxiproxy: the package's own, in a thread of the test's process, and Shopify's, which ``make peers`` installs."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from grpc_tool_bridge.testing.toxiproxy.server import ToxiproxyServer
from grpc_tool_bridge.transport.addresses import join_address
from support.patience import PATIENCE

SERVER = Path(__file__).parents[2] / ".peers" / "bin" / "toxiproxy-server"

needs_shopify = pytest.mark.skipif(not SERVER.exists(), reason="needs Shopify's Toxiproxy, which make peers installs")

IMPLEMENTATIONS = ["ours", pytest.param("shopify", marks=needs_shopify)]


@contextlib.contextmanager
def running_toxiproxy(name: str) -> Iterator[str]:
    """Runs an implementation; gives the address of its API."""
    with _ours() if name == "ours" else _shopify() as address:
        yield address


@contextlib.contextmanager
def _ours() -> Iterator[str]:
    with start_blocking_portal() as portal:
        server = ToxiproxyServer("127.0.0.1", 0, seed=0)
        portal.call(server.start)
        try:
            yield server.address
        finally:
            portal.call(server.stop)


@contextlib.contextmanager
def _shopify() -> Iterator[str]:
    # It does not say which port it got, so it is told one that was free.
    while True:
        address = _free_address()
        command = [str(SERVER), "-host", "127.0.0.1", "-port", address.rpartition(":")[2]]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            if _answers(process, address):
                yield address
                return
        finally:
            process.kill()
            process.wait()


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return join_address(*taken.getsockname())


def _answers(process: "subprocess.Popen[bytes]", address: str) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://{address}/version").status_code == 200
        time.sleep(0.01)
    return False
