"""Hubs with a policy, whose callers are who their tokens name."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer
from grpc_tool_bridge.auth.identity.identities import Identities
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.rpc.authentication import HEADER, Principal


def told_apart(monkeypatch: pytest.MonkeyPatch, groups: Mapping[str, set[str]]) -> dict[str, Principal]:
    """Makes each name a token of the principal with this name; returns the principals."""
    principals = {name: Principal(name, frozenset(of), method="token") for name, of in groups.items()}

    def authenticate(self: Any, peer: Any) -> Principal:
        metadata = getattr(peer, "metadata", peer)
        sent = next((value for key, value in metadata if key == HEADER), b"")
        text = sent.decode() if isinstance(sent, bytes) else sent
        if text.removeprefix("Bearer ") not in principals:
            raise AccessError("nobody has this token", error_type="Unauthenticated")
        return principals[text.removeprefix("Bearer ")]

    # Whatever the settings say, one token is the hub's authenticator.
    monkeypatch.setattr(Identities, "authenticate", authenticate)
    return principals


def server_with(policy: str, path: Path, tools: Any = (), **options: Any) -> AbstractAsyncContextManager[BridgeServer]:
    """Returns a server with the rules in a text, which are in a file at ``path``."""
    path.write_text(policy)
    given = options.pop("settings", {})
    return BridgeServer(tools=tools, settings=Settings(token=SecretStr("any"), policy=path, **given), **options)
