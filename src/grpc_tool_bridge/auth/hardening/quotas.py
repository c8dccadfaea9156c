"""Quotas: how much of the hub one caller can take from the others."""

from collections.abc import Iterator

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.auth.quotas.rules import read_quotas
from grpc_tool_bridge.errors import ValidationError

_ALL = "*"


def quotas(hub: Deployment) -> Iterator[Finding]:
    """Checks whether each caller has a quota."""
    path = hub.settings.quotas
    if path is None:
        if hub.tells_apart:
            text = "none: one caller may take all places, calls and tokens of models from the others"
            yield Finding("quotas", "warn", f"{text}; write some, and set quotas")
        return
    try:
        rules = read_quotas(path)
    except ValidationError as error:
        yield refused("quotas", error.message)
        return
    except OSError as error:
        yield refused("quotas", f"{path}: {error.strerror or error}")
        return
    found: list[Finding] = []
    if not hub.tells_apart:
        found.append(refused("quotas", "there are quotas, and nothing tells one caller from another; set tokens_file"))
    if not any(_ALL in rule.principals for rule in rules):
        text = "whoever none of them names may use any amount"
        found.append(Finding("quotas", "warn", f'{text}; end with one for principals = ["*"]'))
    count = f"{len(rules):,} quota{'' if len(rules) == 1 else 's'}"
    yield from found or [Finding("quotas", "ok", f"{count}, with one for everybody else")]
