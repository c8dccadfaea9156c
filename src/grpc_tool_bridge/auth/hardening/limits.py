"""Bounds: how much of the machine one caller can take."""

from collections.abc import Iterator
from typing import NamedTuple

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding
from grpc_tool_bridge.config import Settings

MIB = 1024 * 1024
GIB = 1024 * MIB


class Bound(NamedTuple):
    """A bound that is no bound any more beyond some value.

    Attributes:
        most: The value.
        why: What a larger one lets a caller do.
    """

    most: float
    why: str


# Beyond these, what a setting is for is lost. Each is some ten times its default.
BOUNDS = {
    "max_hub_bytes": Bound(64 * GIB, "requests fill the memory of the machine"),
    "max_session_bytes": Bound(4 * GIB, "one session fills the memory of the hub"),
    "max_peer_bytes": Bound(2 * GIB, "one connection fills the memory of the hub"),
    "max_unauthenticated_bytes": Bound(16 * MIB, "who has no token fills the memory of the hub"),
    "max_connections": Bound(100_000, "connections use up the machine's file descriptors"),
    "max_pending_links": Bound(10_000, "links of strangers take the places of others"),
    "hello_timeout": Bound(60.0, "strangers hold connections open"),
    "request_timeout": Bound(600.0, "slow senders hold connections open"),
    "max_message_bytes": Bound(512 * MIB, "single messages hold the hub up"),
    "max_message_nodes": Bound(10_000_000, "single messages hold the hub up for seconds"),
    "max_batch_items": Bound(10_000, "one batch takes the places of many calls"),
    "max_threads": Bound(1_024, "synchronous tools take all memory and processor time"),
    "max_sessions": Bound(20_000, "sessions fill the memory of the hub"),
    "session_idle_timeout": Bound(7 * 86_400.0, "sessions that nobody uses, and their values, stay for weeks"),
    "max_session_calls": Bound(10_000, "one session takes the places of all others"),
    "max_session_waiting": Bound(1_000_000, "one session fills the memory of the hub with waiting calls"),
}


def bounds(hub: Deployment) -> Iterator[Finding]:
    """Checks whether bounds are so large that they hold nobody."""
    settings = hub.settings
    found = [
        Finding("limits", "warn", f"{name} is {value:,.10g}, so {bound.why}; set it to {bound.most:,.10g} or less")
        for name, bound in BOUNDS.items()
        if (value := float(getattr(settings, name))) > bound.most
    ]
    found += [Finding("limits", "warn", text) for text in _missing(hub, settings)]
    yield from found or [Finding("limits", "ok", "what one caller, session and message may take is bounded")]


def _missing(hub: Deployment, settings: Settings) -> Iterator[str]:
    if hub.exposed and settings.quotas is None and not settings.max_tool_calls and not settings.rate_limit_per_minute:
        text = "one caller may keep every tool busy: there are no quotas, max_tool_calls or rate_limit_per_minute"
        yield f"{text}; set one of them"
    if settings.store.startswith("sqlite:") and not settings.max_store_bytes:
        yield "max_store_bytes is 0: callers can fill the disk; set it"
    if (hub.agents or settings.agent_model is not None) and not settings.agent_max_total_tokens:
        yield "agent_max_total_tokens is 0: one run of an agent may cost any amount; set it"
    if settings.audit is not None and settings.audit.startswith("file:") and not settings.audit_keep:
        yield "audit_keep is 0: audit files stay for ever, and a full disk stops the hub; set it, or move them away"
