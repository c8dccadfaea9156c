"""Rules: who may do what with which things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What a rule allows or denies."""

    CALL = "call"
    STREAM = "stream"
    REGISTER = "register"
    OPEN = "open"
    SHARE = "share"
    READ = "read"
    WRITE = "write"
    RUN = "run"
    METRICS = "metrics"
    CALLS = "calls"
    CANCEL = "cancel"
    APPROVE = "approve"
    ADMINISTER = "administer"


# The resource of an action that has no name yet: a session whose id the hub makes, an agent that is created.
NEW = "new"

# What the resources of a rule for an action are.
RESOURCES: Mapping[Action, str] = {
    Action.CALL: "names of tools",
    Action.STREAM: "names of tools that stream; one with a single result is streamed by who may call it, too",
    Action.REGISTER: "names of tools that a worker offers",
    Action.OPEN: 'ids of sessions that are begun ("new": the hub makes the id)',
    Action.SHARE: "ids of other principals' sessions that are used as if they were one's own",
    Action.READ: "names of variables",
    Action.WRITE: "names of variables",
    Action.RUN: 'ids of agents ("new": one is created)',
    Action.METRICS: "names of metrics, such as hub.sessions or tool.add.calls",
    Action.CALLS: "ids of other principals' sessions, whose calls are seen",
    Action.CANCEL: "ids of other principals' sessions, whose calls and runs are cancelled",
    Action.APPROVE: "names of tools whose calls by others are approved, where they need approval",
    Action.ADMINISTER: "parts of the hub: hubs, workers, offers, sessions, logs, history, limits",
}

# Parts of the hub that are administered.
PARTS = ("hubs", "workers", "offers", "sessions", "logs", "history", "limits")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: Identifies it in decisions and logs.
        allows: Whether it allows; otherwise it denies.
        principals: Globs of names of principals.
        groups: Names of groups. The rule is for whoever matches one of the principals or is in one of the groups.
        actions: What it is about.
        resources: Globs of the resources of the actions.
        line: Its line in the file; 0: not known.
    """

    name: str
    allows: bool
    principals: frozenset[str]
    groups: frozenset[str]
    actions: frozenset[Action]
    resources: frozenset[str]
    line: int = 0

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"rule {self.name!r} ({'allow' if self.allows else 'deny'}{where})"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a principal may do something.

    Attributes:
        allowed: Whether it may.
        rule: The name of the rule that decides; empty: no rule does.
        why: The decision in words, for people who write rules. A caller that is refused does not see it.
    """

    allowed: bool
    rule: str
    why: str

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules. What no rule allows is denied, and a rule that denies wins over those that allow.

    Attributes:
        rules: In the order of the file, which means nothing for decisions.
        source: Where they come from, for texts.
    """

    rules: Sequence[Rule]
    source: str = "the policy"
