"""Where a hub listens, and what keeps strangers out there."""

from collections.abc import Iterator

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, Status, refused
from grpc_tool_bridge.transport.addresses import is_loopback


def tls(hub: Deployment) -> Iterator[Finding]:
    """Checks whether what crosses the network is encrypted."""
    if hub.settings.tls_cert is not None:
        yield Finding("tls", "ok", "everything but the local socket uses TLS")
    elif not hub.exposed:
        yield Finding("tls", "ok", "not used, and not needed: only this machine reaches the hub")
    elif hub.settings.allow_insecure:
        where = " and ".join(hub.exposed)
        text = f"{where} can be reached from other machines, and tokens and arguments are sent there in plain"
        yield Finding("tls", "fail", f"{text}; set tls_cert and tls_key, and remove allow_insecure")
    else:
        where = " and ".join(hub.exposed)
        yield refused(
            "tls", f"{where} can be reached from other machines without TLS; set tls_cert and tls_key, or listen at "
            "127.0.0.1"
        )  # fmt: skip


def identities(hub: Deployment) -> Iterator[Finding]:
    """Checks whether callers have to say who they are, and are told apart."""
    remedy = "make a token for each caller: grpc-tool-bridge token new NAME, and set tokens_file"
    if hub.tells_apart:
        yield Finding("identities", "ok", f"callers show one of these: {', '.join(hub.methods)}")
        if "a token" in hub.methods:
            text = "token is set as well: whoever has it is the same caller, token, and it never expires"
            yield Finding("identities", "warn", f"{text}; give its callers tokens of their own, and remove it")
    elif hub.methods:
        text = "one token for all: whoever has it may do everything, and the hub cannot tell who it was"
        yield Finding("identities", "warn", f"{text}; {remedy}")
    elif not hub.exposed:
        text = "none: every user and every program of this machine may do everything"
        yield Finding("identities", "warn", f"{text}; {remedy}")
    elif hub.settings.allow_insecure:
        text = f"none: whoever reaches {' and '.join(hub.exposed)} may do everything"
        yield Finding("identities", "fail", f"{text}; {remedy}")
    else:
        yield refused("identities", f"whoever reaches {' and '.join(hub.exposed)} could do everything; {remedy}")


def insecure(hub: Deployment) -> Iterator[Finding]:
    """Checks whether the check at the start is switched off."""
    if not hub.settings.allow_insecure:
        yield Finding("allow_insecure", "ok", "off: the hub does not start if strangers could reach it")
    elif hub.exposed:
        text = "on: the hub starts although strangers may reach it, and sends its own secrets without TLS"
        yield Finding("allow_insecure", "fail", f"{text}; remove it once TLS and identities are set")
    else:
        text = "on, and not needed here: it would hide a mistake in an address"
        yield Finding("allow_insecure", "warn", f"{text}; remove it")


def http(hub: Deployment) -> Iterator[Finding]:
    """Checks the HTTP gateway: the API, the dashboard, metrics and MCP."""
    settings = hub.settings
    if hub.http is None:
        yield Finding("http", "ok", "not served")
    elif hub.methods:
        yield Finding("http", "ok", "the API, the dashboard, /metrics and /mcp ask callers who they are")
    else:
        text = f"the API, the dashboard, /metrics and MCP clients at {hub.http} need no token"
        where = "every program of this machine" if is_loopback(hub.http) else "everybody who reaches it"
        status: Status = "warn" if is_loopback(hub.http) else "fail"
        yield Finding("http", status, f"{text}: open to {where}; set tokens_file")
    if hub.http is None:
        return
    plain = [origin for origin in settings.http_origins if origin.startswith("http://") and not _is_here(origin)]
    if plain:
        text = f"pages of {', '.join(plain)} may call the gateway, and whoever is on their way can change such pages"
        yield Finding("origins", "warn", f"{text}; name https:// origins in http_origins")
    else:
        pages = ", ".join(("this hub", *settings.http_origins))
        yield Finding("origins", "ok", f"pages of {pages} may call the gateway")


def mcp(hub: Deployment) -> Iterator[Finding]:
    """Checks what MCP clients see."""
    settings = hub.settings
    if settings.mcp_grpc:
        text = "MCP over gRPC is an experiment, and its protocol may change"
        yield Finding("mcp", "warn", f"{text}; switch mcp_grpc off if no client needs it")
    if (hub.http is not None or settings.mcp_grpc) and not settings.mcp_tools and settings.policy is None:
        text = "clients of MCP, and their models, see every tool"
        yield Finding("mcp", "warn", f"{text}; name those that they need in mcp_tools, or set a policy")


def _is_here(origin: str) -> bool:
    host = origin.partition("://")[2]
    try:
        return is_loopback(host if ":" in host.rpartition("]")[2] else f"{host}:80")
    except ValueError:
        return False
