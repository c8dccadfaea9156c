"""The settings as a file in TOML: a complete sample, with each default and what it does."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from grpc_tool_bridge.config import Settings

_WIDTH = 100
_HEAD = """\
# All settings of a hub, for `grpc-tool-bridge serve --config FILE`. Durations are in seconds, sizes in bytes.
# Each is shown with its default; to change one, remove the # before its name. Those without a default have an example.
# A flag, such as --call-timeout, and the environment, such as TOOL_BRIDGE_CALL_TIMEOUT, count before this file.
"""

# Values of settings that have no default.
EXAMPLES = {
    "tls_cert": "/etc/tool-bridge/cert.pem",
    "tls_key": "/etc/tool-bridge/key.pem",
    "token": "a-long-random-text",
    "token_file": "/etc/tool-bridge/token",
    "tokens_file": "/etc/tool-bridge/tokens",
    "jwt_issuer": "https://login.example.com/",
    "jwt_keys": "https://login.example.com/.well-known/jwks.json",
    "tls_client_ca": "/etc/tool-bridge/clients-ca.pem",
    "tls_crl": "/etc/tool-bridge/clients.crl",
    "policy": "/etc/tool-bridge/policy.toml",
    "quotas": "/etc/tool-bridge/quotas.toml",
    "link_address": "127.0.0.1:50052",
    "secrets_key": "gtbk1.…",
    "secrets_key_file": "/etc/tool-bridge/secrets-keys",
    "hub_name": "hub-1",
    "nats_creds": "/etc/tool-bridge/hub.creds",
    "nats_tls_ca": "/etc/tool-bridge/nats-ca.pem",
    "nats_tls_cert": "/etc/tool-bridge/nats-cert.pem",
    "nats_tls_key": "/etc/tool-bridge/nats-key.pem",
    "cluster_secret": "another-long-random-text",
    "cluster_secret_file": "/etc/tool-bridge/cluster-secret",
    "agent_model": "openai/gpt-4o-mini",
    "audit": "file:/var/log/tool-bridge/audit.log",
    "audit_key_file": "/etc/tool-bridge/audit-key",
    "otel": True,
    "agent_api_base": "http://127.0.0.1:8000/v1",
}


def sample() -> str:
    """Returns a settings file that has every setting as a comment."""
    return "".join((_HEAD, *_entries()))


def _entries() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        about = field.description or name
        text = f"{about[:1].upper()}{about[1:]}." + (" No default." if field.default is None else "")
        lines = textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
        value = EXAMPLES[name] if field.default is None else field.default
        yield "\n" + "".join(f"# {line}\n" for line in lines) + f"# {name} = {toml(value)}\n"


def toml(value: Any) -> str:
    """Writes the value of a setting in TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}"
        case float():
            return repr(value)
        case tuple():
            return f"[{', '.join(map(toml, value))}]"
    # A text of JSON is one of TOML.
    return json.dumps(str(value), ensure_ascii=False)
