"""Hubs whose callers prove who they are by tokens that are their names."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import AccessError, BridgeServer, GRPCToolBridge, Settings, ToolWorker
from grpc_tool_bridge.rpc.authentication import HEADER, BearerToken, Principal

ADA = Principal("ada", frozenset({"analysts", "staff"}), {"email": "ada@example.com", "secret": "hush"}, "token")
EVE = Principal("eve", frozenset({"guests"}), method="token")
WORKER = Principal("worker", frozenset({"workers"}), method="token")
KNOWN = {principal.name: principal for principal in (ADA, EVE, WORKER)}


class ByName:
    """An authenticator: each token is the name of who has it."""

    def authenticate(self, peer: Any) -> Principal:
        metadata: Iterable[tuple[str, str | bytes]] = getattr(peer, "metadata", peer)
        sent = next((value for key, value in metadata if key == HEADER), b"")
        token = (sent if isinstance(sent, str) else sent.decode()).partition(" ")[2]
        if token not in KNOWN:
            raise AccessError("nobody has this token", error_type="Unauthenticated")
        return KNOWN[token]


def hub(monkeypatch: pytest.MonkeyPatch, tools: Any = (), *, settings: Mapping[str, Any] = {}, **how: Any) -> Any:
    """Returns the server of a hub that knows its callers by name."""
    if "authenticator" in inspect.signature(BridgeServer).parameters:
        return BridgeServer(tools=tools, settings=Settings(**settings), authenticator=ByName(), **how)  # type: ignore[call-arg,unused-ignore]
    monkeypatch.setattr(BearerToken, "authenticate", lambda _, peer: ByName().authenticate(peer))
    return BridgeServer(tools=tools, settings=Settings(token=SecretStr("t" * 32), **settings), **how)


def bridge(server: Any, name: str = "ada", **how: Any) -> GRPCToolBridge:
    """Returns a bridge of somebody to a hub."""
    return GRPCToolBridge(server.address, token=name, **how)


def worker(server: Any, *tools: Any, **how: Any) -> ToolWorker:
    """Returns a worker of a hub."""
    return ToolWorker(server.address, tools, token="worker", **how)


def told(principal: Any, *via: str, claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a tool says that a principal has called."""
    return {
        "name": principal.name,
        "groups": sorted(principal.groups),
        "method": "token",
        "claims": dict(principal.claims if claims is None else claims),
        "via": list(via),
    }
