"""What OAuth clients, such as those of MCP, read of the hub: who issues the tokens that it takes (RFC 9728)."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from grpc_tool_bridge.gateway.errors import JsonResponse

MCP_PATH = "/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"
# The metadata of a resource is at its own path behind the well-known one (RFC 9728, 3.1).
METADATA_PATHS = frozenset({WELL_KNOWN, WELL_KNOWN + MCP_PATH})


class ProtectedResource:
    """The hub as a protected resource of OAuth.

    Args:
        issuer: Who issues its tokens.
        audience: What the hub is called in them; one that is a URL of this hub says how it is reached from outside.
    """

    def __init__(self, issuer: str, audience: Sequence[str]) -> None:
        self._issuer = issuer
        self._urls = [urlsplit(name) for name in audience if name.startswith(("https://", "http://"))]

    def challenge(self, headers: Headers, scope: Scope) -> str:
        """Returns the value of ``WWW-Authenticate`` for a request that is refused."""
        path = MCP_PATH if scope["path"] == MCP_PATH else ""
        error = 'error="invalid_token", ' if "authorization" in headers else ""
        return f'Bearer {error}resource_metadata="{self._base(headers, scope)}{WELL_KNOWN}{path}"'

    async def metadata(self, request: Request) -> JsonResponse:
        """Says who issues the tokens of the hub."""
        path = request.scope["path"].removeprefix(WELL_KNOWN)
        return JsonResponse(
            {
                "resource": self._base(request.headers, request.scope) + path,
                "authorization_servers": [self._issuer],
                "bearer_methods_supported": ["header"],
                "resource_name": "grpc-tool-bridge",
            },
            headers={"cache-control": "max-age=3600", "access-control-allow-origin": "*"},
        )

    def _base(self, headers: Headers, scope: Scope) -> str:
        """Returns the address that the client has used; a proxy in front may have ended TLS."""
        # The guard has checked it.
        host = headers.get("host", "")
        scheme = next((url.scheme for url in self._urls if url.netloc.lower() == host.lower()), scope["scheme"])
        return f"{scheme}://{host}"
