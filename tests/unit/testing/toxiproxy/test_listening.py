"""Addresses to listen at."""

import socket

import pytest

from grpc_tool_bridge.testing.toxiproxy.listening import listen, resolved


@pytest.mark.parametrize("address", ["", "127.0.0.1:0", "localhost:0"])
async def test_it_listens_on_loopback(address: str) -> None:
    with await listen(address) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_without_a_host_it_listens_everywhere() -> None:
    with await listen(":0") as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
        assert listener.getsockname()[0] in ("::", "0.0.0.0")


async def test_an_address_in_use_is_named() -> None:
    with await listen("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"listen tcp 127.0.0.1:{port}: bind: address already in use"):
            await listen(f"localhost:{port}")


@pytest.mark.parametrize("address", ["nowhere", "::1", "host:", "host:http", "host:65536", "host:-1", "host:\u0661"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"listen tcp: address .* (missing port|not a port)"):
        await listen(address)


async def test_a_name_is_resolved_to_a_number() -> None:
    assert await resolved("localhost:80") == "127.0.0.1:80"
    assert await resolved("[::1]:80") == "[::1]:80"
    assert await resolved(":80") == "[::]:80"
    assert await resolved("") == "127.0.0.1:0"
