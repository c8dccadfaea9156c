"""Who may do what: the policy, and what it leaves to everybody."""

from collections.abc import Iterable, Iterator

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused
from grpc_tool_bridge.auth.policy.model import Action, Rule
from grpc_tool_bridge.auth.policy.reading import read_policy
from grpc_tool_bridge.errors import ValidationError

_ALL = "*"
# What gives a principal power over others.
_OVER_OTHERS = frozenset(
    {Action.ADMINISTER, Action.APPROVE, Action.CALLS, Action.CANCEL, Action.METRICS, Action.REGISTER, Action.SHARE}
)


def policy(hub: Deployment) -> Iterator[Finding]:
    """Checks whether there is a policy, and whether it says anything."""
    path = hub.settings.policy
    if path is None:
        everybody = "every caller may call every tool, offer tools as a worker, "
        everybody += "and run agents" if hub.tells_apart else "run agents, use all sessions and administer the hub"
        yield Finding("policy", "warn", f"none: {everybody}; write one, and set policy")
        return
    if not hub.methods:
        yield refused("policy", "there is a policy, and nothing tells who a caller is; set tokens_file")
    try:
        rules = read_policy(path).rules
    except ValidationError as error:
        yield refused("policy", error.message)
        return
    except OSError as error:
        yield refused("policy", f"{path}: {error.strerror or error}")
        return
    if not rules:
        yield Finding("policy", "warn", f"{path} has no rules, so nobody may do anything; write some")
    found = list(_of_rules(rules))
    if not hub.tells_apart and hub.methods:
        text = "one token for all is one principal, so the rules cannot tell callers apart"
        found.append(Finding("policy", "warn", f"{text}; set tokens_file"))
    yield from found
    if rules and not found:
        count = f"{len(rules):,} rule{'' if len(rules) == 1 else 's'}"
        yield Finding("policy", "ok", f"{count}; what none allows is refused")


def _of_rules(rules: Iterable[Rule]) -> Iterator[Finding]:
    for rule in rules:
        if not rule.allows or _ALL not in rule.principals:
            continue
        if rule.actions == frozenset(Action) and _ALL in rule.resources:
            yield Finding("policy", "fail", f"{rule} lets everybody do everything; name principals or groups in it")
        elif rule.actions & _OVER_OTHERS:
            actions = ", ".join(sorted(rule.actions & _OVER_OTHERS))
            yield Finding("policy", "warn", f"{rule} lets everybody {actions}; name principals or groups in it")
        elif Action.CALL in rule.actions and _ALL in rule.resources:
            yield Finding("policy", "warn", f"{rule} lets everybody call every tool; name the tools in it")
