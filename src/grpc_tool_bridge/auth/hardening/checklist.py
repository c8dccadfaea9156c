"""All checks of a hub's settings, in the order in which one would put things right."""

from collections.abc import Iterator, Sequence

from grpc_tool_bridge.auth.hardening.certificates import client_certificates, own_certificates
from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, Rule
from grpc_tool_bridge.auth.hardening.exposure import http, identities, insecure, mcp, tls
from grpc_tool_bridge.auth.hardening.files import data_files, secret_files, trusted_files
from grpc_tool_bridge.auth.hardening.limits import bounds
from grpc_tool_bridge.auth.hardening.quotas import quotas
from grpc_tool_bridge.auth.hardening.rights import policy
from grpc_tool_bridge.auth.hardening.running import development, models, shown, traces, user
from grpc_tool_bridge.auth.hardening.sealing import cluster, sealing
from grpc_tool_bridge.auth.hardening.tokens import named_tokens, shared_token
from grpc_tool_bridge.auth.hardening.trail import audit
from grpc_tool_bridge.auth.hardening.web_tokens import web_tokens

RULES: Sequence[Rule] = (
    tls,
    insecure,
    own_certificates,
    identities,
    shared_token,
    named_tokens,
    web_tokens,
    client_certificates,
    http,
    mcp,
    policy,
    audit,
    sealing,
    cluster,
    quotas,
    bounds,
    models,
    traces,
    shown,
    development,
    user,
    secret_files,
    trusted_files,
    data_files,
)


def examine(hub: Deployment) -> Iterator[Finding]:
    """Yields what each check finds."""
    for rule in RULES:
        yield from rule(hub)
