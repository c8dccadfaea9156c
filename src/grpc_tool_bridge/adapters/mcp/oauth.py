"""Tokens of remote MCP servers, obtained by OAuth as the SDK has it.

A person is asked once, at the address that the log shows; the browser comes back to a port on loopback. Tokens are
kept in a file that only its owner can read.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from grpc_tool_bridge.adapters.mcp.config import OAuthOptions, ServerConfig
from grpc_tool_bridge.aio.servers import close_server
from grpc_tool_bridge.config.secret_files import read_secret
from grpc_tool_bridge.errors import ValidationError

_log = logging.getLogger(__name__)

# Seconds for a person to authorize.
ASK_SECONDS = 300.0
# Seconds for a browser to send its request.
_READ_SECONDS = 10.0
_MAX_REQUEST_BYTES = 65_536
_PATH = "/callback"
_PAGE = "<!doctype html><meta charset=utf-8><title>grpc-tool-bridge</title><p>{text} You can close this window.</p>"


class TokenFile:
    """Keeps what was obtained; the storage of the SDK.

    Args:
        path: The file; None: only this process's memory.
        server: Under which name.
        url: The server's address; what was obtained for another one is not used, so that it is not sent there.
    """

    def __init__(self, path: Path | None, server: str, url: str) -> None:
        self._path = path
        self._server = server
        self._url = url
        self._kept: dict[str, Any] = {}

    async def get_tokens(self) -> OAuthToken | None:
        """Returns the tokens; None if there are none."""
        found = self._read().get("tokens")
        return None if found is None else OAuthToken.model_validate(found)

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keeps tokens."""
        self._set("tokens", tokens.model_dump(mode="json", exclude_none=True))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Returns what the client was registered as; None if it was not."""
        found = self._read().get("client")
        return None if found is None else OAuthClientInformationFull.model_validate(found)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keeps what the client was registered as."""
        self._set("client", client_info.model_dump(mode="json", exclude_none=True))

    def _whole(self) -> dict[str, Any]:
        if self._path is None:
            return {self._server: self._kept}
        try:
            whole = json.loads(read_secret(self._path, "token_file"))
        except FileNotFoundError:
            return {}
        except json.JSONDecodeError:
            raise ValidationError(f"{self._path}: it is not a file of tokens; remove it, to authorize again") from None
        return whole if isinstance(whole, dict) else {}

    def _read(self) -> dict[str, Any]:
        found = self._whole().get(self._server)
        return found if isinstance(found, dict) and found.get("url") == self._url else {}

    def _set(self, what: str, value: Any) -> None:
        whole = self._whole()
        whole[self._server] = {**self._read(), "url": self._url, what: value}
        if self._path is None:
            self._kept = whole[self._server]
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes a file that only its owner can read.
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(whole, file)
            Path(name).replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise


class Redirect:
    """Asks a person to authorize, and takes the browser's way back on loopback.

    Args:
        server: The server's name.
        port: The port; 0: any.
    """

    def __init__(self, server: str, port: int) -> None:
        self._server_name = server
        self._socket = _listening(port)
        self._answer: asyncio.Future[AuthorizationCodeResult] | None = None
        self._state: str | None = None
        self._listener: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        """Where the browser is sent back to."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}{_PATH}"

    async def ask(self, url: str) -> None:
        """Shows the address at which a person authorizes."""
        self._answer = asyncio.get_running_loop().create_future()
        self._state = _query_of(url).get("state")
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, sock=self._socket, limit=_MAX_REQUEST_BYTES)
        _log.warning("MCP server %s: authorize the bridge at %s", self._server_name, url)

    async def answer(self) -> AuthorizationCodeResult:
        """Waits until the browser comes back; raises TimeoutError."""
        assert self._answer is not None  # noqa: S101 - the SDK asks first
        async with asyncio.timeout(ASK_SECONDS):
            return await self._answer

    async def aclose(self) -> None:
        """Listens no more."""
        if self._listener is not None:
            await close_server(self._listener)
        self._socket.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n")
                target = head.split(b" ")[1].decode("ascii", "replace")
            text, status = self._take(target), "200 OK"
            if not text:
                text, status = "There is nothing here.", "404 Not Found"
            body = _PAGE.format(text=text).encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
                "Content-Security-Policy: default-src 'none'\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

    def _take(self, target: str) -> str:
        found = _query_of(target)
        if urlsplit(target).path != _PATH or self._answer is None or self._answer.done():
            return ""
        if found.get("state") != self._state:
            # Any page can send a browser here; the right one knows the state.
            return ""
        if "code" in found:
            result = AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))
            self._answer.set_result(result)
            return "The bridge is authorized."
        if "error" in found:
            self._answer.set_exception(ValidationError(f"it was not authorized: {found['error'][:200]}"))
            return "The bridge was not authorized."
        return ""


def _query_of(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


def _listening(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError as error:
        made.close()
        raise ValidationError(f"OAuth: port {port} on loopback cannot be used: {error.strerror}") from None
    made.setblocking(False)
    return made


def auth_of(config: ServerConfig) -> httpx2.Auth | None:
    """Returns what authorizes the requests to a server; None if nothing does but its headers.

    Raises:
        ValidationError: An option is missing, or the port cannot be used.
    """
    if config.kind != "http" or config.oauth is None:
        return None
    options = config.oauth
    storage = TokenFile(options.token_file, config.name, config.url)
    if options.client_credentials:
        missing = [key for key in ("client_id", "client_secret", "issuer") if not getattr(options, key)]
        if missing:
            raise ValidationError(f"MCP server {config.name}: client_credentials need {' and '.join(missing)}, too")
        return ClientCredentialsOAuthProvider(
            config.url,
            storage,
            options.client_id,
            options.client_secret,
            scope=options.scope or None,
            issuer=options.issuer,
        )
    return _Interactive(config, options, storage)


async def close_auth(auth: httpx2.Auth | None) -> None:
    """Closes what ``auth_of`` has opened."""
    if isinstance(auth, _Interactive):
        await auth.redirect.aclose()


class _Interactive(OAuthClientProvider):
    """Asks a person, the first time."""

    def __init__(self, config: ServerConfig, options: OAuthOptions, storage: TokenFile) -> None:
        redirect = self.redirect = Redirect(config.name, options.port)
        metadata = OAuthClientMetadata(
            client_name="grpc-tool-bridge",
            redirect_uris=[AnyUrl(redirect.uri)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            scope=options.scope or None,
        )
        super().__init__(config.url, metadata, _Registered(storage, options, metadata), redirect.ask, redirect.answer)


class _Registered:
    """A storage that knows a client which is registered already."""

    def __init__(self, storage: TokenFile, options: OAuthOptions, metadata: OAuthClientMetadata) -> None:
        self._storage = storage
        self._client = None
        if options.client_id:
            facts = metadata.model_dump()
            facts["token_endpoint_auth_method"] = "client_secret_basic" if options.client_secret else "none"
            self._client = OAuthClientInformationFull.model_validate(
                {**facts, "client_id": options.client_id, "client_secret": options.client_secret or None}
            )
        self.get_tokens, self.set_tokens = storage.get_tokens, storage.set_tokens
        self.set_client_info = storage.set_client_info

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Returns the client."""
        return self._client or await self._storage.get_client_info()
