"""The quotas of a running hub: read at the start, and read again when their file changes."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from grpc_tool_bridge.auth.followed_file import LOOK_SECONDS, FollowedFile
from grpc_tool_bridge.auth.quotas.rules import QuotaRule, first_for, read_quotas
from grpc_tool_bridge.auth.quotas.usage import Usage
from grpc_tool_bridge.rpc.authentication import Principal

# Principals whose usage is remembered; beyond, those that came first begin anew.
MAX_PRINCIPALS = 100_000


class Quotas:
    """The quotas of all principals; the first rule that applies to one is its quota.

    Args:
        rules: The rules.
        max_waiting: Calls of one principal that may wait.
    """

    def __init__(self, rules: Sequence[QuotaRule], max_waiting: int) -> None:
        self._rules = tuple(rules)
        self._max_waiting = max_waiting
        # By name and groups, since a rule may be for a group.
        self._usages: OrderedDict[tuple[str, frozenset[str]], Usage | None] = OrderedDict()
        self._by_name: OrderedDict[str, Usage] = OrderedDict()
        # By those that are not remembered any more: a counter must not fall.
        self._refused = 0

    def __len__(self) -> int:
        return len(self._rules)

    def of(self, principal: Principal) -> Usage | None:
        """Returns what a principal has used; None: it has no quota."""
        key = principal.name, principal.groups
        try:
            return self._usages[key]
        except KeyError:
            return self._found(principal, key)

    def _found(self, principal: Principal, key: tuple[str, frozenset[str]]) -> Usage | None:
        rule = first_for(self._rules, principal)
        usage = None
        if rule is not None:
            # Another token of the same principal may have other groups; what it has used is the same.
            usage = self._by_name.get(principal.name)
            if usage is None or usage.rule is not rule:
                self._forget(principal.name)
                usage = self._by_name[principal.name] = Usage(principal.name, rule, self._max_waiting)
                if len(self._by_name) > MAX_PRINCIPALS:
                    self._forget(next(iter(self._by_name)))
        self._usages[key] = usage
        if len(self._usages) > MAX_PRINCIPALS:
            (name, _), _ = self._usages.popitem(last=False)
            self._forget(name)
        return usage

    def _forget(self, name: str) -> None:
        usage = self._by_name.pop(name, None)
        if usage is not None:
            self._refused += usage.refused

    def replace(self, rules: Sequence[QuotaRule]) -> None:
        """Takes other rules; a principal whose rule stays as it was keeps what it has used."""
        known = {rule: rule for rule in self._rules}
        self._rules = tuple(known.get(rule, rule) for rule in rules)
        self._usages.clear()

    def refused(self) -> int:
        """Returns how much was refused."""
        return self._refused + sum(usage.refused for usage in self._by_name.values())


class QuotaFile(FollowedFile[tuple[QuotaRule, ...]]):
    """Quotas in a file; see ``FollowedFile``.

    Args:
        path: The file.
        max_waiting: As for ``Quotas``.
        look_seconds: Seconds between two looks at it.

    Attributes:
        quotas: The quotas, which change with the file.
    """

    def __init__(self, path: Path, max_waiting: int, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.quotas = Quotas((), max_waiting)
        super().__init__(
            path, "the quotas stay as they were", read_quotas, self.quotas.replace, look_seconds=look_seconds
        )
