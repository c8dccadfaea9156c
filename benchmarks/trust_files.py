"""The files of a hub that knows its callers, and asks what each may do and use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpc_tool_bridge.auth.audit.keys import make_key
from grpc_tool_bridge.auth.identity.tokens_file import add_token

RULES = 1_000
_CALLER, _GROUP = "reports-bot", "analysts"


def prepare(folder: Path) -> str:
    """Writes what a hub needs to know and to guard its callers into a folder; returns the token of a caller."""
    token = add_token(folder / "tokens", _CALLER, [_GROUP])[0]
    others = "".join(_rule(f"rule {number}", f"tool_{number}.*", f"bot-{number}") for number in range(RULES - 1))
    ours = f'[[rules]]\nname = "ours"\nallow = ["*"]\ngroups = ["{_GROUP}"]\nresources = ["*"]\n'
    (folder / "policy.toml").write_text(others + ours)
    # Each kind of quota is counted, and none is ever used up.
    (folder / "quotas.toml").write_text(
        f'[[quotas]]\ngroups = ["{_GROUP}"]\ncalls_per_minute = 1_000_000_000\nbytes_per_minute = 1_000_000_000_000\n'
        "concurrent_calls = 10_000\nsessions = 100\nagent_tokens_per_day = 1_000_000_000\n"
    )
    make_key(folder / "key")
    return token


def settings_of(folder: Path) -> Mapping[str, Any]:
    """Returns the settings of a hub that has what ``prepare`` has written."""
    return {
        "tokens_file": folder / "tokens",
        "policy": folder / "policy.toml",
        "quotas": folder / "quotas.toml",
        "audit": f"file:{folder}/audit.log",
        "audit_key_file": folder / "key",
    }


def _rule(name: str, resources: str, principal: str) -> str:
    return (
        f'[[rules]]\nname = "{name}"\nallow = ["call", "stream"]\nprincipals = ["{principal}"]\n'
        f'resources = ["{resources}"]\n'
    )
