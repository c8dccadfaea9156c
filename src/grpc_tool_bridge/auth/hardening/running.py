"""How a hub runs: its user, what it shows and writes of calls, and options that are not for production."""

from collections.abc import Iterator

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding
from grpc_tool_bridge.transport.addresses import is_loopback

_ROOT = 0


def user(hub: Deployment) -> Iterator[Finding]:
    """Checks which user the hub, and so its tools, run as."""
    if hub.uid is None:
        return
    if hub.uid == _ROOT:
        yield Finding(
            "user", "warn", "root: a tool that is misused may do everything here; run it as a user of its own"
        )
    else:
        yield Finding("user", "ok", f"{hub.uid}, not root: tools may do what this user may")


def development(hub: Deployment) -> Iterator[Finding]:
    """Checks for options that are for development and tests."""
    for option in hub.development:
        where = "other machines reach this hub" if hub.exposed else "not for production"
        yield Finding("development", "fail" if hub.exposed else "warn", f"{option}: {where}; leave it out")


def shown(hub: Deployment) -> Iterator[Finding]:
    """Checks what callers, logs and recordings get to see of calls."""
    settings = hub.settings
    if settings.show_tracebacks and (hub.exposed or hub.tells_apart):
        text = "callers see the paths and source lines of tools that fail"
        yield Finding("tracebacks", "warn", f"{text}; switch show_tracebacks off")
    else:
        yield Finding("tracebacks", "ok", "not sent" if not settings.show_tracebacks else "sent to this machine alone")
    if hub.logs_debug:
        text = "at the level debug it has what gRPC says of connections and requests"
        yield Finding("log", "warn", f"{text}; use --log-level info")
    else:
        yield Finding("log", "ok", "names of calls, and no arguments" if settings.access_log else "no arguments")
    if hub.recording is not None:
        text = f"{hub.recording} gets arguments and results of all calls, besides what looks like a secret"
        yield Finding("recording", "warn", f"{text}; leave --record out in production")


def traces(hub: Deployment) -> Iterator[Finding]:
    """Checks where traces and metrics are exported to."""
    if any(url.startswith("http://") and not _is_here(url) for url in hub.collectors):
        text = "traces, with the names of tools, sessions and callers, go to another machine in plain"
        yield Finding("traces", "warn", f"{text} (OTEL_EXPORTER_OTLP_ENDPOINT); use https://")
    elif hub.collectors:
        yield Finding("traces", "ok", "they are exported encrypted, or stay on this machine")


def models(hub: Deployment) -> Iterator[Finding]:
    """Checks where agents send their prompts, and the API keys of the runtime."""
    settings = hub.settings
    bases = [settings.agent_api_base, *settings.agent_allowed_api_bases]
    plain = [base for base in bases if base is not None and base.startswith("http://") and not _is_here(base)]
    if plain:
        text = "prompts and API keys of agents go to another machine in plain (agent_api_base, agent_allowed_api_bases)"
        yield Finding("models", "warn", f"{text}; use https://")
    elif hub.agents or settings.agent_model is not None:
        yield Finding("models", "ok", "prompts and API keys of agents are sent encrypted, or stay on this machine")


def _is_here(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    try:
        return is_loopback(host if ":" in host.rpartition("]")[2] else f"{host}:80")
    except ValueError:
        return False
