"""Decides by a policy, quickly however many rules it has."""

from collections.abc import Iterable

from grpc_tool_bridge.auth.policy.globs import GlobMap
from grpc_tool_bridge.auth.policy.model import Action, Decision, Policy, Rule
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.tools.tool_versions import split_version

# Principals whose rules are kept sorted, and decisions that are kept for each; then it begins anew.
MAX_PRINCIPALS = 500
MAX_DECISIONS = 2_000


class PrincipalRules:
    """The rules for one principal, and what was decided by them.

    Args:
        name: The principal's.
        groups: Likewise.
        rules: All rules that are for it.

    Attributes:
        calls: Whether it may call the tools that it has asked for, by name; one look-up decides about most calls.
    """

    __slots__ = ("_allowing", "_denying", "_groups", "_known", "_name", "_of_rules", "_rules", "calls")

    def __init__(self, name: str, groups: frozenset[str], rules: Iterable[Rule]) -> None:
        self._name = name
        self._groups = groups
        self._rules = list(rules)
        self._allowing: dict[Action, GlobMap[Rule]] = {}
        self._denying: dict[Action, GlobMap[Rule]] = {}
        self._known: dict[tuple[Action, str], Decision] = {}
        # Shared by all that one rule decides, or that none does.
        self._of_rules: dict[str, Decision] = {}
        self.calls: dict[str, bool] = {}

    def may_call(self, tool_name: str) -> bool:
        """Decides whether the principal may call a tool, whatever version is named, and notes it in ``calls``."""
        if len(self.calls) >= MAX_DECISIONS:
            self.calls.clear()
        allowed = self.calls[tool_name] = self.decide(Action.CALL, split_version(tool_name)[0]).allowed
        return allowed

    def decide(self, action: Action, resource: str) -> Decision:
        """Decides whether the principal may do something."""
        known = self._known.get((action, resource))
        if known is None:
            if len(self._known) >= MAX_DECISIONS:
                # Who asks for ever new names must not make the hub hold them all.
                self._known.clear()
            known = self._known[action, resource] = self._decide(action, resource)
        return known

    def _decide(self, action: Action, resource: str) -> Decision:
        if action not in self._allowing:
            self._allowing[action] = self._sorted(action, allows=True)
            self._denying[action] = self._sorted(action, allows=False)
        rule = self._denying[action].find(resource) or self._allowing[action].find(resource)
        key = f"!{action}" if rule is None else f"={rule.name}"
        made = self._of_rules.get(key)
        if made is None:
            made = Decision(False, "", self._why_not(action)) if rule is None else _by(rule)
            self._of_rules[key] = made
        return made

    def denies(self, action: Action, resource: str) -> bool:
        """Returns whether a rule denies something, rather than that none allows it."""
        decision = self.decide(action, resource)
        return not decision.allowed and bool(decision.rule)

    def _sorted(self, action: Action, *, allows: bool) -> GlobMap[Rule]:
        return GlobMap(
            (resource, rule)
            for rule in self._rules
            if rule.allows is allows and action in rule.actions
            for resource in sorted(rule.resources)
        )

    def _why_not(self, action: Action) -> str:
        groups = f" (groups {', '.join(sorted(self._groups))})" if self._groups else ""
        if not self._rules:
            return f"no rule is for {self._name}{groups}, so nothing is allowed"
        if not self._allowing[action]:
            return f"no rule allows {self._name}{groups} to {action} anything"
        return f"no rule of {self._name}{groups} that allows {action} has this resource"


def _by(rule: Rule) -> Decision:
    return Decision(rule.allows, rule.name, f"{rule} decides")


class Decisions:
    """The decisions of one policy.

    Args:
        policy: The rules.

    Attributes:
        policy: As given.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._by_name = GlobMap(_rules_by(policy.rules, "principals"))
        self._by_group = dict(_rules_by(policy.rules, "groups"))
        self._by_key: dict[tuple[str, frozenset[str]], PrincipalRules] = {}
        # By the identity of the principal, since the one of a link is the same for all of its requests. It is held,
        # so that no other gets its id.
        self._by_id: dict[int, tuple[Principal, PrincipalRules]] = {}

    def of(self, principal: Principal) -> PrincipalRules:
        """Returns the rules for a principal."""
        known = self._by_id.get(id(principal))
        if known is not None and known[0] is principal:
            return known[1]
        if len(self._by_id) >= MAX_PRINCIPALS:
            self._by_id.clear()
        if len(self._by_key) >= MAX_PRINCIPALS:
            self._by_key.clear()
        key = principal.name, principal.groups
        rules = self._by_key.get(key)
        if rules is None:
            rules = self._by_key[key] = PrincipalRules(*key, self._rules_for(principal))
        self._by_id[id(principal)] = principal, rules
        return rules

    def decide(self, principal: Principal, action: Action, resource: str) -> Decision:
        """Decides whether a principal may do something."""
        return self.of(principal).decide(action, resource)

    def _rules_for(self, principal: Principal) -> Iterable[Rule]:
        found: dict[int, Rule] = {}
        lists = list(self._by_name.all(principal.name))
        lists += [self._by_group[group] for group in principal.groups if group in self._by_group]
        for rules in lists:
            found.update((id(rule), rule) for rule in rules)
        order = {id(rule): place for place, rule in enumerate(self.policy.rules)}
        return sorted(found.values(), key=lambda rule: order[id(rule)])


def _rules_by(rules: Iterable[Rule], field: str) -> list[tuple[str, list[Rule]]]:
    by: dict[str, list[Rule]] = {}
    for rule in rules:
        for text in getattr(rule, field):
            by.setdefault(text, []).append(rule)
    return list(by.items())
