"""Where the keys for JWTs come from: a file that is read again when it changes, or a URL that is asked now and then."""

import asyncio
import contextlib
import logging
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.auth.identity.jwks import Key, read_keys
from grpc_tool_bridge.auth.identity.watched_file import WatchedFile
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.rpc.authentication import unauthenticated

MAX_JWKS_BYTES = 1024 * 1024
# How often a URL is asked: by itself, and at most, whatever keys tokens name.
REFRESH_SECONDS = 300.0
MIN_FETCH_SECONDS = 10.0
FETCH_SECONDS = 5.0
# A key that was not there stays unknown for so long; then the URL is asked once more.
UNKNOWN_SECONDS = 60.0
MAX_UNKNOWN = 1_000

_log = logging.getLogger(__name__)
_throttled = ThrottledLog(_log)


class KeySource(Protocol):
    """Has the keys."""

    async def start(self) -> None:
        """Begins to have them."""

    async def aclose(self) -> None:
        """Ends what runs in the background."""

    def abandon(self) -> None:
        """Gives up what runs in an event loop that has ended."""

    def keys(self) -> Sequence[Key]:
        """Returns the keys; the same object as long as they are the same."""

    def unknown(self, kid: str) -> ToolBridgeError:
        """Returns the error for a token that names a key which is not there.

        It is an UnavailableError if the keys are being fetched and may have it, else an AccessError.
        """


class KeysInFile:
    """Keys in a file.

    Args:
        path: The file.
        algorithms: What they are used for.
    """

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        self._path = path
        self._algorithms = algorithms
        self._file: WatchedFile[Sequence[Key]] | None = None

    async def start(self) -> None:
        """Reads the file; raises ValueError or OSError."""
        self._file = WatchedFile(self._path, self._read, named="jwt_keys")

    async def aclose(self) -> None:
        """Does nothing."""

    def abandon(self) -> None:
        """Does nothing."""

    def keys(self) -> Sequence[Key]:
        """See ``KeySource``."""
        return () if self._file is None else self._file.content()

    def unknown(self, kid: str) -> ToolBridgeError:
        """See ``KeySource``."""
        return unauthenticated(_unknown(kid))

    def _read(self, path: Path) -> Sequence[Key]:
        with path.open("rb") as file:
            data = file.read(MAX_JWKS_BYTES + 1)
        if len(data) > MAX_JWKS_BYTES:
            raise ValueError(f"jwt_keys {path} has over {MAX_JWKS_BYTES} bytes")
        try:
            return read_keys(data, self._algorithms)
        except ValueError as error:
            raise ValueError(f"jwt_keys {path}: {error}") from None


class KeysAtUrl:
    """Keys at a URL. If it cannot be reached, the keys that it had last stay in force.

    Args:
        url: The URL.
        algorithms: What they are used for.
    """

    def __init__(self, url: str, algorithms: Sequence[str]) -> None:
        self._url = url
        self._algorithms = algorithms
        self._keys: Sequence[Key] = ()
        self._tasks = TaskSet()
        self._wanted = asyncio.Event()
        # When the last fetch that succeeded began, and when tokens first named a key that was not there.
        self._as_of = float("-inf")
        self._unknown: OrderedDict[str, float] = OrderedDict()

    async def start(self) -> None:
        """Fetches the keys, and again now and then; without them, the hub starts all the same."""
        await self._fetch()
        self._tasks.spawn(self._refresh(), "keys of JWTs")

    async def aclose(self) -> None:
        """Ends the task."""
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Gives up the task."""
        self._tasks.abandon()

    def keys(self) -> Sequence[Key]:
        """See ``KeySource``."""
        return self._keys

    def unknown(self, kid: str) -> ToolBridgeError:
        """See ``KeySource``."""
        now = time.monotonic()
        seen = self._unknown.get(kid)
        if seen is not None and seen < self._as_of and now - seen < UNKNOWN_SECONDS:
            return unauthenticated(_unknown(kid))
        if seen is None or seen < self._as_of:
            self._unknown[kid] = now
            self._unknown.move_to_end(kid)
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        self._wanted.set()
        return UnavailableError("the keys that tokens are signed with are being fetched; try again", retryable=True)

    async def _refresh(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    # Anybody can name an unknown key, and must not make this hub a nuisance to its issuer.
                    await asyncio.sleep(MIN_FETCH_SECONDS)
                    await self._wanted.wait()
            self._wanted.clear()
            await self._fetch()

    async def _fetch(self) -> None:
        began = time.monotonic()
        try:
            found = read_keys(await asyncio.to_thread(_get, self._url), self._algorithms)
        except (OSError, ValueError) as error:
            _throttled.warning("jwt_keys cannot be fetched, and those that were known stay in force: %s", error)
            return
        if found != self._keys:
            _log.info("jwt_keys: %d keys were fetched", len(found))
            self._keys = found
        self._as_of = began


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follows none: it could lead away from TLS."""


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    # The settings allow https, and http at this machine.
    request = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310
    with opener.open(request, timeout=FETCH_SECONDS) as response:
        data: bytes = response.read(MAX_JWKS_BYTES + 1)
    if len(data) > MAX_JWKS_BYTES:
        raise ValueError(f"it has over {MAX_JWKS_BYTES} bytes")
    return data


def _unknown(kid: str) -> str:
    return f"the token is signed with the key {kid!r:.80}, which its issuer does not have"
