"""The options of the hub: several addresses, and what is refused."""

from typing import Any

import pytest

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import HubOptions


def test_the_options_of_each_address_are_those_of_all() -> None:
    hub = HubOptions(address="a:1, b:2", link_address="a:7,b:8", tls=True)
    hub.check()
    assert [(each.address, each.link_address, each.tls) for each in hub.each()] == [
        ("a:1", "a:7", True),
        ("b:2", "b:8", True),
    ]


def test_one_address_has_the_options_that_were_given() -> None:
    hub = HubOptions(address="a:1")
    assert hub.each() == (hub,)
    assert hub.each()[0] is hub


def test_a_token_that_was_read_is_that_of_each_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("secrets") / "token"
    file.write_text("s3cr3t")
    file.chmod(0o600)
    hub = HubOptions(address="a:1,b:2", token_file=file)
    assert hub.token() == "s3cr3t"
    file.unlink()
    assert [each.token() for each in hub.each()] == ["s3cr3t"] * 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"address": "a:1,b"}, "--address: 'b' is not a valid address; write host:port"),
        ({"address": "a:1,,b:2"}, "--address: an address is missing beside a comma"),
        ({"address": "a:1,b:2", "link_address": "a:7"}, "--link-address: there are 2 addresses, but 1 for links"),
        ({"address": "a:1,b:2", "link_address": "a:7,b"}, "--link-address: 'b' is not a valid address"),
        ({"address": "a:1,unix:/run/h.sock", "proxy": "http://p:3"}, "--proxy: unix:/run/h.sock is not host:port"),
    ],
)
def test_options_that_cannot_be_used_are_refused_with_their_flag(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        HubOptions(**options).check()
    assert str(caught.value).startswith(why)
