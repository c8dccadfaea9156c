"""Which ways the settings open, and what is said where one is missing."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, Settings
from grpc_tool_bridge.auth.identity.identities import Identities, methods_of
from grpc_tool_bridge.errors import AccessError, ValidationError
from grpc_tool_bridge.rpc.authentication import PeerInfo, Principal


def bearer(token: str) -> PeerInfo:
    return PeerInfo([("authorization", f"Bearer {token}")])


def test_nothing_is_asked_for_by_default() -> None:
    assert methods_of(Settings()) == ()
    assert BridgeServer()._identities is None


def test_each_way_has_a_name() -> None:
    path = Path("x")
    everything: dict[str, Any] = {
        "token": "t", "tokens_file": path, "jwt_issuer": "i", "jwt_audience": ["a"], "jwt_keys": "k",
        "tls_cert": path, "tls_key": path, "tls_client_ca": path, "unix_users": ["*"],
    }  # fmt: skip
    assert methods_of(Settings(**everything)) == (
        "a token", "a token of their own", "a JWT", "a client certificate", "the user of their process"
    )  # fmt: skip


async def test_a_larger_token_than_any_is_not_looked_at() -> None:
    identities = Identities(Settings(token=SecretStr("x" * 20_000)))
    await identities.start()
    with pytest.raises(AccessError, match="the token is wrong"):
        identities.authenticate(bearer("x" * 20_000))


async def test_who_shows_nothing_is_told_what_to_show() -> None:
    identities = Identities(Settings(unix_users=(str(os.geteuid()),)))
    await identities.start()
    with pytest.raises(AccessError, match="this hub requires the user of their process"):
        identities.authenticate(PeerInfo())
    assert identities.authenticate(PeerInfo(uid=os.geteuid())).method == "user"


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"unix_users": ["no such user"]}, "no user 'no such user'"), ({"token": "a b"}, "the token is empty or has")],
)
async def test_settings_that_cannot_be_used_stop_the_hub(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        await BridgeServer(settings=Settings(**settings)).start()


def test_an_authenticator_of_ones_own_stands_alone() -> None:
    class Own:
        def authenticate(self, peer: PeerInfo) -> Principal:
            return Principal(peer.address)

    with pytest.raises(ValidationError, match="the settings name a token, too"):
        BridgeServer(settings=Settings(token=SecretStr("t")), authenticator=Own())
    with pytest.raises(TypeError, match="authenticate"):
        BridgeServer(authenticator=Own)  # type: ignore[arg-type]  # a class, where an object belongs


def test_a_peer_s_repr_has_no_secret() -> None:
    assert "hush" not in repr(PeerInfo([("authorization", "Bearer hush")], certificate=b"hush"))
