"""The checks of ``doctor`` for a cluster: its hubs, their links, clocks, secrets and versions."""

from collections.abc import Collection, Iterator, Sequence

from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.reach_checks import Check
from grpc_tool_bridge.client.admin import Admin
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo

# Beyond this many seconds, the times that hubs write cannot be compared.
MAX_SKEW_SECONDS = 2.0


async def check_hubs(admin: Admin) -> list[Check]:
    """Checks the cluster of a hub; returns no checks if it has none, or does not list its hubs."""
    missing: list[str] = []
    try:
        hubs = await admin.hubs(on_missing=missing.append)
    except ToolBridgeError:
        return []
    return list(checks_of(hubs, missing)) if any(hub.incarnation for hub in hubs) else []


def checks_of(hubs: Sequence[HubInfo], missing: Collection[str]) -> Iterator[Check]:
    """Yields the checks of a cluster.

    Args:
        hubs: Its hubs, as one of them lists them.
        missing: Names of those that did not answer it.
    """
    there = [hub for hub in hubs if hub.state != "gone"]
    yield _serving(there, missing)
    others = [hub for hub in there if not hub.is_self]
    if not others:
        return
    yield _linked(others)
    yield _secrets(others)
    heard = [hub for hub in others if hub.HasField("time")]
    if heard:
        yield _clocks(heard)
        yield _versions(there)


def _serving(hubs: Sequence[HubInfo], missing: Collection[str]) -> Check:
    wrong = [f"{hub.name} is {hub.state}{f' ({hub.reason})' if hub.reason else ''}" for hub in hubs if _fails(hub)]
    wrong += [f"{name} does not answer the hub that was asked" for name in missing]
    names = ", ".join(hub.name for hub in hubs)
    if wrong:
        # The hub that is asked cannot do its work, or only its peers cannot.
        own = any(hub.is_self and _fails(hub) for hub in hubs)
        return Check("hubs", "fail" if own else "warn", one_line("; ".join(wrong)))
    return Check("hubs", "ok", one_line(f"{len(hubs)} serve and reach their store: {names}"))


def _fails(hub: HubInfo) -> bool:
    return hub.state != "serving"


def _linked(others: Sequence[HubInfo]) -> Check:
    # A refused link has a check of its own.
    wrong = [
        f"{hub.name}: {hub.link or 'no link'}{f' ({hub.link_error})' if hub.link_error else ''}"
        for hub in others
        if hub.link not in ("linked", "refused")
    ]
    if wrong:
        return Check("links", "warn", one_line("; ".join(wrong)))
    count = sum(hub.link == "linked" for hub in others)
    return Check("links", "ok", f"linked to {count} of {len(others)} other hubs")


def _secrets(others: Sequence[HubInfo]) -> Check:
    refused = [f"{hub.name} ({hub.link_error or 'refused the link'})" for hub in others if hub.link == "refused"]
    if refused:
        text = f"{', '.join(refused)}; set the same cluster_secret at all hubs"
        return Check("secrets", "fail", one_line(text))
    return Check("secrets", "ok", "no other hub refuses the secret of this one")


def _clocks(heard: Sequence[HubInfo]) -> Check:
    far = [hub for hub in heard if abs(hub.clock_ahead_us) > MAX_SKEW_SECONDS * 1e6]
    if far:
        said = ", ".join(f"{hub.name} {_ahead(hub)}" for hub in far)
        return Check("clocks", "warn", one_line(f"{said} the hub that was asked; set all by NTP"))
    most = max(heard, key=lambda hub: abs(hub.clock_ahead_us))
    return Check("clocks", "ok", one_line(f"at most {abs(most.clock_ahead_us) / 1e6:.3f} s apart ({most.name})"))


def _ahead(hub: HubInfo) -> str:
    return f"is {abs(hub.clock_ahead_us) / 1e6:.3f} s {'ahead of' if hub.clock_ahead_us > 0 else 'behind'}"


def _versions(hubs: Sequence[HubInfo]) -> Check:
    by_version: dict[str, list[str]] = {}
    for hub in hubs:
        by_version.setdefault(hub.version or "unknown", []).append(hub.name)
    text = ", ".join(f"{version} ({', '.join(names)})" for version, names in sorted(by_version.items()))
    if len(by_version) > 1:
        return Check("versions", "warn", one_line(f"they differ: {text}; finish the update"))
    return Check("versions", "ok", one_line(text))
