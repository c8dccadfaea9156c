"""The audit trail: whether there is one, and how far it can be trusted."""

from collections.abc import Iterator

from grpc_tool_bridge.auth.audit.keys import read_keys
from grpc_tool_bridge.auth.audit.sinks import read_target
from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.config.audit_choices import AuditSync, OnAuditFailure
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.transport.addresses import is_loopback

_SYSLOG = ("syslog:udp://", "syslog:tcp://")


def audit(hub: Deployment) -> Iterator[Finding]:
    """Checks the audit trail."""
    settings = hub.settings
    if settings.audit is None or settings.audit_key_file is None:
        text = "off: nobody can find out later who has done what"
        yield Finding("audit", "warn", f"{text}; make a key with grpc-tool-bridge audit key FILE, and set audit")
        return
    try:
        read_target(settings.audit)
        read_keys(settings.audit_key_file, warn=lambda _: None)
    except ValidationError as error:
        yield refused("audit", error.message)
        return
    except OSError as error:
        yield refused("audit", f"audit_key_file {settings.audit_key_file}: {error.strerror or error}")
        return
    found = [Finding("audit", "warn", text) for text in _weaknesses(hub)]
    kind = settings.audit.partition(":")[0]
    yield from found or [Finding("audit", "ok", f"a line of each call and decision goes to {_KINDS[kind]}")]


_KINDS = {"file": "a file", "stdout": "the standard output", "syslog": "syslog"}


def _weaknesses(hub: Deployment) -> Iterator[str]:
    settings = hub.settings
    target = settings.audit or ""
    if not hub.tells_apart:
        yield "its lines cannot say who it was, as callers are not told apart; set tokens_file"
    if settings.audit_on_failure is OnAuditFailure.COUNT:
        yield "audit_on_failure is count: with a full disk, calls go on and leave no line; set it to refuse"
    if settings.audit_sync is AuditSync.NEVER:
        yield "audit_sync is never: a loss of power takes lines that were written long ago; set it to second"
    if settings.audit_arguments or settings.audit_results:
        what = " and ".join(name for name in ("audit_arguments", "audit_results") if getattr(settings, name))
        yield f"{what}: who reads the trail reads what calls are about; switch it off, or name more in record_redact"
    if target.startswith(_SYSLOG) and not is_loopback(target.partition("://")[2]):
        yield "its lines go to another machine in plain; send them to the syslog of this one, and let that use TLS"
