"""The quotas of a running hub: read at the start, and read again when their file changes."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.auth.quotas.rules import QuotaRule, read_quotas
from grpc_tool_bridge.auth.quotas.usage import Usage
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.authentication import Principal

# Seconds between two looks at the file.
LOOK_SECONDS = 1.0
# Principals whose usage is remembered; beyond, those that came first begin anew.
MAX_PRINCIPALS = 100_000

_log = logging.getLogger(__name__)


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
        self._by_name: dict[str, Usage] = {}

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
        rule = next((rule for rule in self._rules if rule.applies_to(principal)), None)
        usage = None
        if rule is not None:
            # Another token of the same principal may have other groups; what it has used is the same.
            usage = self._by_name.get(principal.name)
            if usage is None or usage.rule is not rule:
                usage = self._by_name[principal.name] = Usage(principal.name, rule, self._max_waiting)
        self._usages[key] = usage
        if len(self._usages) > MAX_PRINCIPALS:
            (name, _), _ = self._usages.popitem(last=False)
            self._by_name.pop(name, None)
        return usage

    def replace(self, rules: Sequence[QuotaRule]) -> None:
        """Takes other rules; a principal whose rule stays as it was keeps what it has used."""
        known = {rule: rule for rule in self._rules}
        self._rules = tuple(known.get(rule, rule) for rule in rules)
        self._usages.clear()

    def refused(self) -> int:
        """Returns how much was refused, of all principals that are remembered."""
        return sum(usage.refused for usage in self._by_name.values())


class QuotaFile:
    """Quotas in a file. One that changes to what is not valid leaves them as they were, with an error in the log.

    Args:
        path: The file.
        max_waiting: As for ``Quotas``.

    Attributes:
        quotas: The quotas.

    Raises:
        ValidationError: It is not valid.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, max_waiting: int) -> None:
        self.path = path
        self._mark = _mark_of(path)
        self.quotas = Quotas(read_quotas(path), max_waiting)
        self._tasks = TaskSet()

    def start(self) -> None:
        """Begins to follow the file."""
        self._tasks.spawn(self._follow(), "follow the file of quotas")

    async def aclose(self) -> None:
        """Ends following it."""
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        self._tasks.abandon()

    async def look(self) -> bool:
        """Reads the file again if it has changed; returns whether other quotas hold now."""
        try:
            mark = await asyncio.to_thread(_mark_of, self.path)
            if mark == self._mark:
                return False
            # Noted first: a bad file is reported once, and one that changes while it is read is read again.
            self._mark = mark
            rules = await asyncio.to_thread(read_quotas, self.path)
        except (ValidationError, OSError) as error:
            if not isinstance(error, OSError) or self._mark is not None:
                _log.error("the quotas stay as they were: %s", error)
            if isinstance(error, OSError):
                self._mark = None
            return False
        self.quotas.replace(rules)
        _log.info("%s was read again: %d quotas", self.path, len(rules))
        return True

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()


def _mark_of(path: Path) -> tuple[int, int, int, int] | None:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
