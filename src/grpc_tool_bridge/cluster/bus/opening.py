"""Opens the connection to NATS, with the hub's credentials, or says why that cannot be."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from grpc_tool_bridge.cluster.bus.connection import Connection, NoTlsError, next_server
from grpc_tool_bridge.cluster.names import Names
from grpc_tool_bridge.cluster.urls import NatsAddress
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.secret_files import read_secret
from grpc_tool_bridge.errors import StoreError, ValidationError
from grpc_tool_bridge.optional import missing

# Seconds within which a node must be reached when a hub starts.
OPEN_SECONDS = 10.0
# Seconds for one node to accept.
_CONNECT_SECONDS = 2
# A node is pinged so often, in seconds, and is lost after so many pings without an answer.
_PING_SECONDS = 0.5
_PINGS = 3
OLDEST_VERSION = (2, 11)


async def connect(
    connection: Connection,
    address: NatsAddress,
    settings: Settings,
    *,
    on_error: Callable[[Exception], Awaitable[None]],
    on_lost: Callable[[], Awaitable[None]],
    on_back: Callable[[], Awaitable[None]],
) -> None:
    """Connects to a node of NATS, and checks its version.

    Args:
        connection: What to connect.
        address: Where NATS is.
        settings: Of the hub.
        on_error: Called with each error of the connection.
        on_lost: Called when it is lost.
        on_back: Called when it is back.

    Raises:
        StoreError: No node was reached, it refuses the credentials, or is too old.
        ValidationError: The address is not allowed, or a file that the settings name cannot be used.
    """
    check_trust(address, settings)
    options = _options(address, settings)
    errors: list[Exception] = []
    is_fatal = asyncio.Event()

    async def on_first_error(error: Exception) -> None:
        # What comes of a further try, which may begin before this one's error is seen, says less than that error.
        if not is_fatal.is_set():
            errors[:] = [error]
        if _is_fatal(error):
            is_fatal.set()
        if is_open:
            await on_error(error)

    is_open = False
    opening = asyncio.ensure_future(
        connection.connect(error_cb=on_first_error, disconnected_cb=on_lost, reconnected_cb=on_back, **options)
    )
    failing = asyncio.ensure_future(is_fatal.wait())
    try:
        await asyncio.wait({opening, failing}, timeout=OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        _check_connected(opening, address, errors)
        is_open = True
        _check_version(connection, address)
    except BaseException:
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await opening
        await connection.end(0.0)
        raise
    finally:
        failing.cancel()


def check_trust(address: NatsAddress, settings: Settings) -> None:
    """Refuses a NATS beyond this machine that anyone there could read, or write to.

    Raises:
        ValidationError: It needs TLS, or credentials; the text says what to set.
    """
    if address.is_local or settings.allow_insecure:
        return
    remedy = "or set allow_insecure on a network that is trusted as a whole"
    if not address.tls:
        raise ValidationError(
            f"{address.shown} is beyond this machine, and everything would be sent in the clear; write tls:// in place "
            f"of nats://, {remedy}"
        )
    if (
        address.user is None
        and address.token is None
        and settings.nats_creds is None
        and settings.nats_tls_cert is None
    ):
        raise ValidationError(
            f"{address.shown} is beyond this machine, and takes a hub without credentials from anyone; set nats_creds, "
            f"nats_tls_cert and nats_tls_key, or user:password@ before the hosts, {remedy}"
        )


def _options(address: NatsAddress, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "servers": address.urls,
        "name": settings.hub_name or "hub",
        "inbox_prefix": Names(address.cluster).inboxes,
        "connect_timeout": _CONNECT_SECONDS,
        "reconnect_time_wait": 0.1,
        "max_reconnect_attempts": -1,
        "reconnect_to_server_handler": next_server,
        "ping_interval": _PING_SECONDS,
        "max_outstanding_pings": _PINGS,
        # Nothing is buffered while the connection is down.
        "pending_size": -1,
        "user": address.user,
        "password": address.password,
        "token": address.token,
    }
    if settings.nats_creds is not None:
        found["user_credentials"] = _creds_file(settings.nats_creds)
    if address.tls or settings.nats_tls_ca is not None:
        found["tls"] = _tls(settings)
    return found


def _creds_file(path: Path) -> str:
    try:
        import nkeys  # noqa: F401, PLC0415 - only credentials in a file need it
    except ImportError as error:
        raise missing(error, "nkeys", extra="cluster") from None
    try:
        text = read_secret(path, "nats_creds").decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        raise ValidationError(f"nats_creds: {error}") from None
    if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
        raise ValidationError(f"nats_creds {path} is no file of credentials, as nsc writes it")
    return str(path)


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.nats_tls_ca)
        if settings.nats_tls_cert is not None:
            context.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ValidationError(f"nats_tls_ca, nats_tls_cert or nats_tls_key cannot be used: {error}") from None
    return context


def _is_fatal(error: Exception) -> bool:
    """Whether trying again does not help: the address, a certificate or the credentials are wrong."""
    return isinstance(error, NoTlsError | ssl.SSLCertVerificationError) or "authorization" in str(error).lower()


def _check_connected(opening: "asyncio.Future[None]", address: NatsAddress, errors: list[Exception]) -> None:
    if not opening.done():
        raise StoreError(_no_connection(address, errors[-1] if errors else None))
    opening.result()


def _no_connection(address: NatsAddress, error: Exception | None) -> str:
    why = f": {str(error) or type(error).__name__}" if error is not None else ""
    if error is not None and "authorization" in str(error).lower():
        return f"NATS at {address.shown} refuses the hub's credentials{why}; correct nats_creds or the URL"
    return f"cannot reach NATS at {address.shown}{why}; start nats-server with JetStream there, or correct the URL"


def _check_version(connection: Connection, address: NatsAddress) -> None:
    version = connection.connected_server_version
    try:
        found = (version.major, version.minor)
    except ValueError:
        # A build of one's own.
        return
    if found < OLDEST_VERSION:
        raise StoreError(
            f"NATS at {address.shown} is version {found[0]}.{found[1]}; a cluster needs "
            f"{OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or newer"
        )
