"""Hubs whose callers prove who they are by tokens that are their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpc_tool_bridge import AccessError, BridgeServer, GRPCToolBridge, Settings, ToolWorker
from grpc_tool_bridge.rpc.authentication import HEADER, PeerInfo, Principal

ADA = Principal("ada", frozenset({"analysts", "staff"}), {"email": "ada@example.com", "secret": "hush"}, "token")
EVE = Principal("eve", frozenset({"guests"}), method="token")
WORKER = Principal("worker", frozenset({"workers"}), method="token")
# Who is told apart has sessions of its own, which others may not use.
OPEN_POLICY = Path(__file__).with_name("open_policy.toml")
KNOWN = {principal.name: principal for principal in (ADA, EVE, WORKER)}


class ByName:
    """An authenticator: each token is the name of who has it."""

    def authenticate(self, peer: PeerInfo) -> Principal:
        sent = next((value for key, value in peer.metadata if key == HEADER), b"")
        token = (sent if isinstance(sent, str) else sent.decode()).partition(" ")[2]
        if token not in KNOWN:
            raise AccessError("nobody has this token", error_type="Unauthenticated")
        return KNOWN[token]


def hub(tools: Any = (), *, settings: Mapping[str, Any] = {}, **how: Any) -> BridgeServer:
    """Returns the server of a hub that knows its callers by name; they may do everything, unless the settings say."""
    given = {"policy": OPEN_POLICY, **settings}
    return BridgeServer(tools=tools, settings=Settings(**given), authenticator=ByName(), **how)


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
