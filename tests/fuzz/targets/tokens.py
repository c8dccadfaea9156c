"""What a peer sends to show who it is: metadata of gRPC, headers and cookies of HTTP, and a token in a file."""

import tempfile
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import Headers

from grpc_tool_bridge.config import read_token
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.gateway.login import BrowserLogin
from grpc_tool_bridge.rpc.authentication import BearerToken, PeerInfo

REFUSALS = (AccessError,)

_TOKEN = "the-token"
_AUTHENTICATOR = BearerToken(_TOKEN)
_LOGIN = BrowserLogin(_AUTHENTICATOR, secure=False)


def fuzz(data: bytes) -> None:
    """Only the token itself lets a peer in."""
    text = data.decode("utf-8", "surrogateescape")
    assert not _LOGIN.has_cookie(Headers(raw=[(b"cookie", data), (b"host", data)]))
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        with suppress(ValueError):
            read_token(None, Path(file.name))
    for sent in (data, text, data.decode("latin-1")):
        _AUTHENTICATOR.authenticate(PeerInfo([("other", "x"), ("authorization", sent)]))
        whole = sent if isinstance(sent, bytes) else sent.encode()
        # The name of the scheme is the same in any case (RFC 9110, 11.1).
        assert (whole[:7].lower(), whole[7:]) == (b"bearer ", b"the-token")
