"""URLs of NATS, and what is wrong with others; none of it shows a password."""

import pytest

from grpc_tool_bridge.cluster.urls import NatsAddress, parse
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("nats://host", NatsAddress(("host:4222",))),
        ("nats://host:4223/", NatsAddress(("host:4223",))),
        ("nats://[::1]", NatsAddress(("[::1]:4222",))),
        ("tls://a,b:1,[::2]:3/main-2", NatsAddress(("a:4222", "b:1", "[::2]:3"), "main-2", tls=True)),
        ("nats://me:p%40%2Fss@a,b/x", NatsAddress(("a:4222", "b:4222"), "x", "me", "p@/ss")),
        ("tls://tok%3Aen@a", NatsAddress(("a:4222",), token="tok:en", tls=True)),
    ],
)
def test_a_url_names_nodes_a_cluster_and_credentials(url: str, address: NatsAddress) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://host", "no URL of NATS; write nats://"),
        ("nats:host", "no URL of NATS"),
        ("nats://", "a host in the URL"),
        ("nats://a,,b", "a host in the URL"),
        ("nats://host:0", "port 0"),
        ("nats://host:70000", "a port is at most 65535"),
        ("nats://host?hunter2", "has no '\\?'"),
        ("nats://host/a b", "space"),
        ("nats://host/Main", "'Main' is not a name of a cluster"),
        ("nats://host/a.b", "is not a name of a cluster"),
        ("nats://host/a/b", "is not a name of a cluster"),
        ("nats://host/-a", "is not a name of a cluster"),
        ("nats://host/" + "a" * 33, "is not a name of a cluster"),
        ("nats://a,a:4222", "names a node twice"),
        ("nats://u:hunter2@a,u:hunter2@b", "stand once, before all hosts"),
        ("nats://u:hunter2/x@a", "stand once|write '@'"),
        ("nats://:hunter2@a", "stands user:password, or a token"),
        ("nats://u:@a", "stands user:password, or a token"),
        ("nats://user:hunter2", "a host in the URL"),
    ],
)
def test_any_other_url_is_refused_with_what_is_wrong(url: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        parse(url)
    assert "hunter2" not in caught.value.message


def test_an_address_shows_no_secret() -> None:
    address = parse("tls://me:hunter2@a,b/main")
    assert address.shown == "tls://a:4222,b:4222/main"
    assert address.urls == ["tls://a:4222", "tls://b:4222"]
    assert "hunter2" not in repr(address) + str(parse("nats://hunter2@a"))


@pytest.mark.parametrize(
    ("url", "is_local"),
    [("nats://127.0.0.1,localhost,[::1]", True), ("nats://127.0.0.1,h", False)],
    ids=["local", "not"],
)
def test_an_address_is_local_if_all_of_its_nodes_are(url: str, is_local: bool) -> None:
    assert parse(url).is_local is is_local
