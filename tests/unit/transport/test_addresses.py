"""Addresses: which there are, how one is shown, and whether it stays on this machine."""

from typing import Any

import pytest

from grpc_tool_bridge.transport.addresses import is_loopback, join_address, split_address
from grpc_tool_bridge.transport.channel import Connection


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("localhost:0", "localhost", 0),
        ("[::1]:1", "::1", 1),
        ("example.org:65535", "example.org", 65535),
    ],
)
def test_an_address_is_split_and_joined(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", ":50051", "localhost:http", "localhost:65536", "localhost:-1", "h:٣"]
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no address; write host:port, such as 127\.0\.0\.1:50051 or \[::1\]:50051"
    ):
        split_address(address)


def test_a_url_is_told_what_to_leave_out() -> None:
    with pytest.raises(ValueError, match=r"'http://hub:1/' is no address; leave http:// out: hub:1$"):
        split_address("http://hub:1/")


@pytest.mark.parametrize("address", ["hub", "http://hub:1", 50051])
def test_a_connection_to_what_is_no_address_is_refused_before_it_is_opened(address: Any) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Connection(address=address)


@pytest.mark.parametrize("address", ["unix:/tmp/hub", "dns:///hub:1", "ipv4:127.0.0.1:1", "[::1]:1"])
def test_every_form_of_address_that_grpc_resolves_is_taken(address: str) -> None:
    assert Connection(address=address).address == address


@pytest.mark.parametrize("address", ["::1:50051", "dns:///localhost:1", "[::1:5"])
def test_an_ipv6_host_stands_in_brackets(address: str) -> None:
    with pytest.raises(ValueError, match="write an IPv6 host in brackets"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/socket", True),
        ("unix-abstract:socket", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.0.1:1", False),
        ("example.org:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_what_is_no_address_is_not_taken_for_loopback() -> None:
    with pytest.raises(ValueError, match="is no address"):
        is_loopback("localhost")
