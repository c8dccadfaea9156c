"""Addresses: which there are, how one is shown, and whether it stays on this machine."""

import re
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.addresses import (
    check_address,
    host_and_port,
    is_loopback,
    join_address,
    shown_address,
    socket_path,
    split_address,
)
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
        ValueError, match=r"is not a valid address; write host:port, such as 127\.0\.0\.1:50051 or \[::1\]:50051"
    ):
        split_address(address)


def test_a_url_is_told_what_to_leave_out() -> None:
    with pytest.raises(ValueError, match=r"'http://hub:1/' is not a valid address; leave http:// out: hub:1$"):
        split_address("http://hub:1/")


@pytest.mark.parametrize("address", ["hub", "http://hub:1", 50051])
def test_a_connection_to_what_is_no_address_is_refused_before_it_is_opened(address: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid address"):
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
        ("LocalHost:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("dns:localhost:1", True),
        ("dns:///127.0.0.1:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:1", True),
        ("ipv4:127.0.0.1:1,8.8.8.8:2", False),
        ("dns://8.8.8.8/localhost:1", False),
        ("dns:hub:1", False),
        ("xds:localhost", False),
        ("vsock:2:1", False),
        ("[fe80::1%1]:1", False),
        ("foo.localhost:1", False),
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
    with pytest.raises(ValueError, match="is not a valid address"):
        is_loopback("localhost")


SECRET = "s3cr3t-t0k3n"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("hub:1", "hub:1"),
        ("[::1]:1", "[::1]:1"),
        ("unix:/run/a@b.sock", "unix:/run/a@b.sock"),
        ("http://hub:1/", "http://hub:1/"),
        (f"ann:{SECRET}@hub:1", "***@hub:1"),
        (f"grpc://{SECRET}@hub:1", "grpc://***@hub:1"),
        (f"grpc://ann:{SECRET}@hub:1/x", "grpc://***@hub:1/***"),
        (f"grpc://ann:se://{SECRET}@hub:1", "grpc://***@hub:1"),
        (f"ann:/?#{SECRET}@hub:1", "***@hub:1"),
        (f"ann:\n{SECRET}@hub:1", "***@hub:1"),
        (f"ann%3A{SECRET}%40hub:1", "***@hub:1"),
        (f"hub:1?token={SECRET}", "hub:1?***"),
        (f"hub:1&token={SECRET}", "hub:1&***"),
        (f"hub:1#{SECRET}", "hub:1#***"),
        (f"hub:1/{SECRET}", "hub:1/***"),
        (f"hub:1;{SECRET}", "hub:1;***"),
        (f"ann:{SECRET}", "ann:***"),
        (f"http://ann:{SECRET}", "http://ann:***"),
        (f"unix:/run/hub.sock?token={SECRET}", "unix:/run/hub.sock?***"),
        (f"unix://ann:{SECRET}@hub/x", "unix://***@hub/***"),
        (f"dns:ann:{SECRET}@hub:1", "***@hub:1"),
        ("x" * 1_000, "x" * 200 + "…"),
        (f"ann:{SECRET}".encode(), "b'ann:***'"),
        (b"hub:1", "b'hub:1'"),
        (["hub:1"], "['hub:1']"),
        ([f"ann:{SECRET}@hub:1"], "***@hub:1']"),
        (5, "5"),
    ],
)
def test_what_may_be_secret_in_an_address_is_not_shown(address: Any, shown: str) -> None:
    assert shown_address(address) == shown


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize(
    "address",
    [
        f"ann:{SECRET}@hub:1",
        f"grpc://{SECRET}@hub:1",
        f"https://hub:1/?token={SECRET}",
        f"hub:1?token={SECRET}",
        f"hub:1#{SECRET}",
        f"hub:1/{SECRET}",
        f"ann:{SECRET}",
        f"http://ann:{SECRET}",
        f"dns:ann:{SECRET}@hub:1",
        f"dns:///ann:{SECRET}@hub:1",
        f"ipv4:ann:{SECRET}@1.2.3.4:1",
        f"xds:ann:{SECRET}@hub",
        f"unix://ann:{SECRET}@hub/x",
        f"unix:/run/x?token={SECRET}",
        f"ann:{SECRET}@[::1",
        f"ann:{SECRET}@hub :1",
        f"ann:{SECRET}@hüb:1",
        b"ann:s3cr3t-t0k3n@hub:1",
        [f"ann:{SECRET}@hub:1"],
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(address: Any, listening: bool) -> None:
    with pytest.raises(ValidationError) as caught:
        check_address(address, listening=listening)
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.details}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (" 127.0.0.1:1", "has a space or an invisible character"),
        ("127.0.0.1:1\n", "has a space or an invisible character"),
        ("127.0.0.1:1\x00", "has a space or an invisible character"),
        ("hub\u200b:1", "has a space or an invisible character"),
        ("127.0.0.1:1/", "leave the slash and what follows it out"),
        ("hub:0", "has port 0, which only a hub can listen at"),
        ("127.1:1", "an IPv4 host is four numbers up to 255"),
        ("2130706433:1", "an IPv4 host is four numbers up to 255"),
        ("127.0.0.256:1", "an IPv4 host is four numbers up to 255"),
        ("*:1", "a host's name has letters, digits"),
        ("a..b:1", "a host's name has letters, digits"),
        ("hub:1,hub:2", "IPv6 host in brackets"),
        ("bücher.example:1", "write its ASCII form, xn--bcher-kva.example"),
        ("x" * 64 + ".example:1", "each part 63"),
        (".".join(["x" * 50] * 6) + ":1", "at most 253 characters"),
        ("[::g]:1", "what stands in its brackets is not IPv6"),
        ("[fe80::1%nosuchport]:1", "this machine has no network interface 'nosuchport'"),
        ("unix:", "write the socket's path"),
        ("unix-abstract:", "write the socket's path"),
        ("unix:" + "x" * 108, "has 108 bytes; a socket's path has at most 107"),
        ("unix:/tmp/" + "%C3%BC" * 60, "has 125 bytes; a socket's path has at most 107"),
        ("unix:/tmp/a b", "as %XX"),
        ("unix:/tmp/a#b", "as %XX"),
        ("unix:/tmp/bücher", "as %XX"),
        ("unix://tmp/hub", "write unix:PATH or unix:///ABSOLUTE/PATH"),
        ("dns:localhost", "write host:port"),
        ("dns:", "write host:port"),
        ("ipv4:", "write host:port"),
        ("ipv4:localhost:1", "'localhost' is not IPv4"),
        ("ipv6:127.0.0.1:1", "'127.0.0.1' is not IPv6"),
        ("Unix:/tmp/x", "leave the slash"),
    ],
)
def test_an_address_that_no_hub_can_have_is_refused_with_what_to_write(address: str, text: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(text)):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "LOCALHOST:1",
        "hub.example.:1",
        "my_hub-1:1",
        "[::ffff:127.0.0.1]:1",
        "unix:hub.sock",
        "unix:///run/hub",
        "vsock:1:2",
    ],
)
def test_odd_addresses_that_work_are_taken(address: str) -> None:
    check_address(address)


def test_a_hub_listens_at_any_free_port_and_at_no_name_of_grpcs_own() -> None:
    check_address("127.0.0.1:0", listening=True)
    for address in ("dns:localhost:1", "ipv4:127.0.0.1:1", "xds:hub"):
        with pytest.raises(ValidationError, match="a hub cannot listen at"):
            check_address(address, listening=True)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("hub:1", ("hub", 1)),
        ("dns:hub:1", ("hub", 1)),
        ("dns:///hub:1", ("hub", 1)),
        ("dns://8.8.8.8/hub:1", None),
        ("ipv4:1.2.3.4:1,5.6.7.8:2", ("1.2.3.4", 1)),
        ("ipv6:[::1]:1", ("::1", 1)),
        ("unix:/run/hub", None),
        ("vsock:1:2", None),
    ],
)
def test_the_host_of_an_address_is_found_where_it_names_one(address: str, place: tuple[str, int] | None) -> None:
    assert host_and_port(address) == place


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:hub", "hub"),
        ("unix:/run/hub", "/run/hub"),
        ("unix:///run/a%20b", "/run/a b"),
        ("unix-abstract:hub", "\0hub"),
        ("h:1", None),
    ],
)
def test_the_path_of_a_socket_is_as_grpc_reads_it(address: str, path: str | None) -> None:
    assert socket_path(address) == path


@pytest.mark.parametrize("address", ["h:1?a=u@s3cr3t", "http://h:1?t=u@s3cr3t", "u:s3cr3t:h:1", "u:s3cr3t\uff20h:1"])
def test_an_address_that_may_hold_a_secret_is_refused_without_it(address: str) -> None:
    with pytest.raises(ValidationError, match="is not a valid address") as caught:
        check_address(address)
    assert "s3cr3t" not in str(caught.value)
