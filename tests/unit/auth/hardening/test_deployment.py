"""What is known of a hub before it is started."""

from grpc_tool_bridge.auth.hardening.deployment import refused
from unit.auth.hardening.deployments import EVERYWHERE, TOKEN, hub


def test_each_address_that_others_reach_is_exposed() -> None:
    assert hub().exposed == ()
    everywhere = hub({"link_address": "10.0.0.7:1"}, address=EVERYWHERE, http="127.0.0.1:8080")
    assert everywhere.exposed == (EVERYWHERE, "10.0.0.7:1")


def test_one_token_for_all_tells_nobody_apart() -> None:
    assert not hub().tells_apart
    assert not hub({"token": TOKEN}).tells_apart
    assert hub({"token": TOKEN, "tokens_file": "tokens"}).tells_apart


def test_a_store_is_durable() -> None:
    assert not hub().is_durable
    assert hub({"store": "sqlite:////srv/hub.db"}).is_durable


def test_what_is_refused_is_a_failure() -> None:
    assert (refused("tls", "why").status, refused("tls", "why").text) == ("fail", "serve refuses to start: why")
