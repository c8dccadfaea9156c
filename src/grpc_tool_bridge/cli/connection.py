"""Connects to the hub for the duration of one command."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.client.admin import Admin
from grpc_tool_bridge.client.answering import OnAsk
from grpc_tool_bridge.client.bridge import GRPCToolBridge
from grpc_tool_bridge.client.resume import reach
from grpc_tool_bridge.config import MAX_MESSAGE_BYTES
from grpc_tool_bridge.errors import AccessError, SessionError, ToolBridgeError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.errors.near_names import MAX_NAMES, did_you_mean
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetSessionInfoRequest

# Seconds, beyond the time to connect, for the hub's first response. One connection attempt of gRPC to a silent server
# takes 20.
ANSWER_SECONDS = 5.0


@asynccontextmanager
async def open_bridge(
    hub: HubOptions,
    session_id: str | None = None,
    on_ask: OnAsk | None = None,
    *,
    must_exist: bool = False,
    transport: Literal["link", "socket", "rpc"] | None = None,
) -> AsyncIterator[GRPCToolBridge]:
    """Opens a session for the duration of the context.

    Args:
        hub: Where the hub is and how it is reached.
        session_id: The session to attach to, or to create and keep; None: a temporary one.
        on_ask: Answers questions of tools, over a link; None: there are no answers.
        must_exist: Whether a session that does not exist is an error, and not created.
        transport: How calls are made; None: over a link only if there are answers.

    Raises:
        CommandError: The hub cannot be reached, or refuses access, or the session must exist and does not.
        ArgumentError: The token cannot be read.
    """
    transport = transport or ("rpc" if on_ask is None else "link")
    async with make_bridge(hub, transport=transport, keep_session=session_id is not None, on_ask=on_ask) as bridge:
        async with first_answer(hub, bridge.client.where):
            if must_exist and session_id is not None:
                await reach(lambda _: bridge.client.health_check(), hub.connect_timeout)
                await require_session(bridge, session_id)
            await bridge.initialize(session_id, connect_timeout=hub.connect_timeout)
        yield bridge


@asynccontextmanager
async def open_admin(hub: HubOptions, session_id: str | None = None) -> AsyncIterator[Admin]:
    """Connects without a session, to inspect the hub; raises as ``open_bridge``.

    Args:
        hub: Where the hub is and how it is reached.
        session_id: A session that must exist; None or empty: none.
    """
    async with open_hub(hub) as bridge:
        if session_id:
            await require_session(bridge, session_id)
        yield bridge.admin


@asynccontextmanager
async def open_hub(hub: HubOptions) -> AsyncIterator[GRPCToolBridge]:
    """Connects without a session; raises as ``open_bridge``."""
    async with make_bridge(hub) as bridge:
        async with first_answer(hub, bridge.client.where):
            await reach(lambda _: bridge.client.health_check(), hub.connect_timeout)
        yield bridge


async def require_session(bridge: GRPCToolBridge, session_id: str) -> None:
    """Checks that a session exists, without creating it, and without counting as its activity.

    Raises:
        CommandError: It does not; the text names sessions that it may have meant.
    """
    try:
        await bridge.client.call("GetSessionInfo", GetSessionInfoRequest(session_id=session_id))
    except SessionError as error:
        known = await _some_sessions(bridge.admin)
        hint = did_you_mean(session_id, known, "grpc-tool-bridge sessions lists them", quoted=True)
        text = f"there is no session {session_id!r}{hint}"
        raise CommandError(text, error_type="SessionNotFound") from error


async def _some_sessions(admin: Admin) -> list[str]:
    """Returns ids of sessions of the hub; none if it does not list them."""
    found: list[str] = []
    with contextlib.suppress(ToolBridgeError):
        async with contextlib.aclosing(admin.sessions()) as sessions:
            async for session in sessions:
                found.append(session.session_id)
                if len(found) == MAX_NAMES:
                    break
    return found


@asynccontextmanager
async def first_answer(hub: HubOptions, where: str) -> AsyncIterator[None]:
    """Adds a hint to the error if the hub does not answer the first request; raises as ``open_bridge``.

    Args:
        hub: How it is reached.
        where: Where it is, for the text.
    """
    patience = hub.connect_timeout + ANSWER_SECONDS
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError:
        raise CommandError(
            f"{where} did not answer within {patience:g} s; is this the address of the hub? "
            "grpc-tool-bridge doctor says more, and --connect-timeout waits longer"
        ) from None
    except ToolCommunicationError as error:
        raise unreachable(hub, error) from error
    except AccessError as error:
        raise CommandError(refused(hub, error)) from error


def make_bridge(
    hub: HubOptions,
    *,
    transport: Literal["link", "socket", "rpc"] = "rpc",
    keep_session: bool = False,
    follow_tools: bool = False,
    on_ask: OnAsk | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> GRPCToolBridge:
    """Creates a bridge that is not connected yet.

    Most commands make only a call or two, so a link would not help.

    Raises:
        ArgumentError: The token cannot be read, or would be sent unencrypted.
    """
    try:
        return GRPCToolBridge(
            hub.address,
            token=hub.token(),
            tls=hub.tls,
            tls_ca=hub.tls_ca,
            tls_cert=hub.tls_cert,
            tls_key=hub.tls_key,
            proxy=hub.proxy,
            allow_insecure=hub.allow_insecure,
            link_address=hub.link_address,
            transport=transport,
            keep_session=keep_session,
            follow_tools=follow_tools,
            on_ask=on_ask,
            max_message_bytes=max_message_bytes,
        )
    except ValidationError as error:
        raise ArgumentError(f"{error.message} (--tls, --tls-ca FILE, --allow-insecure)") from None


def address_of(bridge: GRPCToolBridge) -> str:
    """Returns the address of the hub that a bridge uses, of several the one in use; without the proxy on the way."""
    return bridge.client.where.partition(" (through")[0]


def unreachable(hub: HubOptions, error: ToolCommunicationError) -> CommandError:
    """Returns the error for a hub that does not answer."""
    if error.code_name != "UNAVAILABLE":
        return CommandError(f"{hub.address} answered, but not as a hub does: {error.code_name}: {error.message}")
    if len(hub.each()) > 1:
        return CommandError(f"{error.message}; {_advice(hub, error.message)}")
    proxy = hub.proxied()
    where = hub.address if proxy is None else f"{hub.address} through the proxy {proxy}"
    return CommandError(f"no hub answered at {where} ({reason_of(error.message)}); {_advice(hub, error.message)}")


def reason_of(details: str) -> str:
    """Returns the part of gRPC's error text that says why."""
    parts = [part.strip(" []") for part in details.split(": ")]
    while len(parts) > 1 and parts[-1] in ("OK", "Invalid certificate verification context"):
        parts.pop()
    # Some releases of gRPC add the system's number: "Connection refused (111)".
    return re.sub(r" \(\d+\)$", "", parts[-1]).removeprefix("error ")


def refused(hub: HubOptions, error: AccessError) -> str:
    """Describes a refused access and what to do."""
    return f"the hub at {hub.address} refused access: {error.message} (--token-file FILE, or TOOL_BRIDGE_TOKEN)"


def _advice(hub: HubOptions, details: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is not trusted; give the authority that signed it with --tls-ca FILE"
    if "Hostname Verification" in details:
        return "its certificate is for another name; use that name in --address"
    if "WRONG_VERSION_NUMBER" in details:
        return "it does not use TLS; remove --tls and --tls-ca"
    if "Socket closed" in details and not hub.uses_tls:
        return "if it requires TLS, add --tls or --tls-ca FILE"
    if "Domain name not found" in details or "address lookup failed" in details:
        return "is the host name correct?"
    return "is it running? grpc-tool-bridge serve --tools …"
