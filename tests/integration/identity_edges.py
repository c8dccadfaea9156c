"""The ways into a hub, each tried with what a caller shows of itself."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.auth.identity.identities import Identities
from grpc_tool_bridge.client.bridge import GRPCToolBridge, ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.rpc.authentication import PeerInfo, Principal
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.frames import GrpcEndpoint
from grpc_tool_bridge.transport.link_stub import LinkTransport
from integration.mcp_clients import new_request
from support.waiting import soon

# An RPC, a link over gRPC, over TCP and at the local socket, the gateway, and MCP.
EDGES = ("rpc", "link", "tcp", "socket", "http", "mcp")
TLS_EDGES = ("rpc", "link", "tcp", "http", "mcp")

LET_IN = "let in"


async def attempt(server: BridgeServer, edge: str, token: Any = None, *, files: dict[str, Path] | None = None) -> str:
    """Tries to use a hub; returns ``LET_IN``, or the type and the text of the error.

    Args:
        server: The hub.
        edge: One of ``EDGES``.
        token: What is sent; None: none.
        files: ``ca``, and ``cert`` and ``key`` if the caller has a certificate; None: without TLS.
    """
    if edge in ("http", "mcp"):
        return await _over_http(server, edge, token, files)
    tls: dict[str, Any] = {}
    if files is not None:
        tls = {"tls_ca": files["ca"]}
        if "cert" in files:
            tls |= {"tls_cert": files["cert"], "tls_key": files["key"]}
    if edge == "link":
        connection = Connection(address=server.address, token=token, **tls)
        bridge: Any = ToolBridge(ToolBridgeClient(LinkTransport(GrpcEndpoint(connection))))
    else:
        way = {"transport": "rpc" if edge == "rpc" else "socket"}
        if edge == "tcp":
            way["link_address"] = server.link_address or ""
        bridge = GRPCToolBridge(server.address, token=token, **way, **tls)  # type: ignore[arg-type]
    async with bridge:
        try:
            await soon(bridge.initialize(connect_timeout=0.0))
        except ToolCommunicationError as error:
            return f"{error.code_name}: {error.message}"
        except ToolBridgeError as error:
            return f"{error.error_type}: {error.message}"
    return LET_IN


async def _over_http(server: BridgeServer, edge: str, token: Any, files: dict[str, Path] | None) -> str:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    context: Any = True
    if files is not None:
        context = ssl.create_default_context(cafile=files["ca"])
        if "cert" in files:
            context.load_cert_chain(files["cert"], files["key"])
    async with httpx.AsyncClient(verify=context) as client:
        base = f"{'http' if files is None else 'https'}://{server.http_address}"
        try:
            if edge == "http":
                response = await soon(client.get(f"{base}/api/tools", headers=headers))
            else:
                more, body = new_request("tools/list")
                response = await soon(client.post(f"{base}/mcp", headers={**headers, **more}, json=body))
        except httpx.TransportError as error:
            return f"UNAVAILABLE: {error}"
    if response.is_success:
        return LET_IN
    said = response.json()["error"]
    assert response.status_code != 401 or response.headers["www-authenticate"].startswith("Bearer")
    return f"{said['type']}: {said['message']}"


@contextmanager
def principals(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Principal]]:
    """Notes whom hubs take their callers for."""
    found: list[Principal] = []
    real = Identities.authenticate

    def noting(self: Identities, peer: PeerInfo) -> Principal:
        found.append(real(self, peer))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Identities, "authenticate", noting)
        yield found
