"""Proxies: a hub is reached through one only where somebody said so."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.transport.proxies import (
    PROXY_VARIABLES,
    Proxy,
    channel_target,
    proxy_for,
    set_variables,
    stays_here,
)

SECRET = "s3cr3t-w0rd"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "no_grpc_proxy", "no_proxy", "GRPC_ADDRESS_HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", PROXY_VARIABLES)
def test_the_environment_alone_names_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy:1")
    assert proxy_for("hub:1", None) is None
    target, options = channel_target("hub:1", None)
    assert target == "hub:1"
    assert ("grpc.enable_http_proxy", 0) in options
    assert set_variables() == [name]


def test_a_proxy_is_dialled_with_the_hub_as_what_it_is_asked_for() -> None:
    proxy = proxy_for("dns:///hub:1", f"http://ann%40x:{SECRET}%3A@[::1]:3128/")
    assert proxy == Proxy("[::1]:3128", f"ann@x:{SECRET}:")
    target, options = channel_target("dns:///hub:1", proxy)
    given = dict(options)
    assert (target, given["grpc.http_connect_server"], given["grpc.default_authority"]) == (
        "[::1]:3128",
        "hub:1",
        "hub:1",
    )
    assert given["grpc.http_connect_headers"] == "Proxy-Authorization:Basic YW5uQHg6czNjcjN0LXcwcmQ6"
    assert str(proxy) == "http://***@[::1]:3128"
    assert SECRET not in f"{proxy!r} {proxy}"


def test_a_proxy_without_a_user_is_told_of_none() -> None:
    proxy = proxy_for("hub:1", "http://proxy:3128")
    assert str(proxy) == "http://proxy:3128"
    assert "grpc.http_connect_headers" not in dict(channel_target("hub:1", proxy)[1])


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"http_proxy": "http://c:1"}, "c:1"),
        ({"http_proxy": "http://c:1", "https_proxy": "http://b:1"}, "b:1"),
        ({"http_proxy": "http://c:1", "https_proxy": "http://b:1", "grpc_proxy": "http://a:1"}, "a:1"),
        ({"http_proxy": "http://c:1", "grpc_proxy": ""}, None),
        ({"HTTP_PROXY": "http://c:1"}, None),
        ({"http_proxy": "http://c:1", "no_proxy": "other, HUB.example "}, None),
        ({"http_proxy": "http://c:1", "no_proxy": ".example"}, None),
        ({"http_proxy": "http://c:1", "no_proxy": "10.0.0.0/8,"}, "c:1"),
        ({"http_proxy": "http://c:1", "no_proxy": ".example", "no_grpc_proxy": "other"}, "c:1"),
    ],
)
def test_env_is_what_grpc_reads_in_the_environment(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for("hub.example:1", "env")
    assert (found and found.address) == proxy


def test_env_leaves_out_networks_and_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8, fe80::/10, no/network")
    assert proxy_for("10.1.2.3:1", "env") is None
    assert proxy_for("[fe80::1]:1", "env") is None
    assert proxy_for("unix:/run/hub", "env") is None
    assert proxy_for("11.1.2.3:1", "env") == Proxy("proxy:1")


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("", "does not begin with http://"),
        ("proxy:3128", "does not begin with http://"),
        (f"ann:{SECRET}@proxy:3128", "does not begin with http://"),
        (f"https://ann:{SECRET}@proxy:3128", "plain HTTP"),
        (f"socks5://ann:{SECRET}@proxy:3128", "plain HTTP"),
        (f"http://ann:{SECRET}", "does not name a host and a port"),
        (f"http://ann:{SECRET}@proxy", "does not name a host and a port"),
        (f"http://ann:{SECRET}@proxy:0", "does not name a host and a port"),
        (f"http://ann:{SECRET}@proxy:1/x", "does not name a host and a port"),
        (f"http://ann:{SECRET}@proxy:1?x", "does not name a host and a port"),
        (f"http://ann:{SECRET}@unix:/run/proxy", "does not name a host and a port"),
        (f"http://ann:{SECRET}@dns:proxy:1", "does not name a host and a port"),
        (f"http://{SECRET}@proxy:1", "something other than user:password"),
        (f"http://ann:{SECRET}%0d%0a@proxy:1", "something other than user:password"),
    ],
)
def test_what_is_no_proxy_is_refused_without_showing_it(proxy: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    for given, named in [(proxy, "proxy"), *([("env", "https_proxy")] if proxy else [])]:
        with pytest.raises(ValidationError, match=text) as caught:
            proxy_for("hub:1", given)
        assert str(caught.value).startswith(named)
        assert SECRET not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("proxy", [True, 3128, b"http://proxy:1", {"http": "http://proxy:1"}])
def test_a_proxy_of_another_type_is_refused(proxy: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="proxy is of type"):
        proxy_for("hub:1", proxy)


@pytest.mark.parametrize("address", ["unix:/run/hub", "vsock:1:2", "xds:hub"])
def test_what_no_proxy_can_reach_is_told(address: str) -> None:
    with pytest.raises(ValidationError, match="leave the proxy out"):
        proxy_for(address, "http://proxy:1")


def test_what_goes_through_a_proxy_elsewhere_leaves_the_machine() -> None:
    assert stays_here("127.0.0.1:1", None)
    assert stays_here("127.0.0.1:1", Proxy("localhost:1"))
    assert not stays_here("127.0.0.1:1", Proxy("proxy:1"))
    assert not stays_here("hub:1", Proxy("localhost:1"))


@pytest.mark.parametrize("proxy", ["user:s3cr3t://proxy:1", "s3cr3t://proxy:1"])
def test_what_stands_where_a_scheme_should_is_not_shown(proxy: str) -> None:
    with pytest.raises(ValidationError, match="does not begin with http://") as caught:
        proxy_for("127.0.0.1:1", proxy)
    assert "s3cr3t" not in str(caught.value)
