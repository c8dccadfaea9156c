"""What chaos injects into one call."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from grpc_tool_bridge.core.chaos.draws import NamedSession, session_name, uniform
from grpc_tool_bridge.core.chaos.rules import Failure, Rule
from grpc_tool_bridge.core.names import clip

_log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """A rule that injects its fault into a call.

    Attributes:
        rule: The rule.
        latency: Seconds that it delays the call.
        failure: How it makes the call fail, if it does.
    """

    rule: Rule
    latency: float
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class CallKey:
    """Which call it is.

    Attributes:
        tool: The tool's name.
        session: The session's name.
        number: Which call of this tool in this session it is, from 1.
    """

    tool: str
    session: str
    number: int

    def __str__(self) -> str:
        where = f"session {clip(self.session)!r}" if self.session else "a session without a name"
        return f"call {self.number} of {self.tool} in {where}"


class Injection:
    """The faults of one call.

    Args:
        chaos: Where they are counted.
        key: Which call it is.
        drawn: The rules that inject a fault, in order.
    """

    def __init__(self, chaos: "Chaos", key: CallKey, drawn: Sequence[Drawn]) -> None:
        self._chaos = chaos
        self._key = key
        self._drawn = drawn

    def latency(self) -> float:
        """Returns the seconds by which the call is delayed, and notes the delays."""
        for rule, latency, _ in self._drawn:
            if latency:
                self._note(rule, "latency", f"delayed by {latency:.3f} s")
        return sum(item.latency for item in self._drawn)

    def failure(self, when: str) -> tuple[Rule, Failure] | None:
        """Returns how the call fails before or after its tool has run; None if it does not."""
        for rule, _, failure in self._drawn:
            if failure is not None and rule.truncate_after is None and rule.when == when:
                return rule, failure
        return None

    def truncation(self, chunks: int) -> tuple[Rule, Failure] | None:
        """Returns how a stream fails after so many chunks; None if it does not."""
        for rule, _, failure in self._drawn:
            if failure is not None and rule.truncate_after == chunks:
                return rule, failure
        return None

    def chunk_latency(self, chunk: int) -> float:
        """Returns the seconds by which a chunk of a stream is delayed; notes the first of them."""
        seconds = 0.0
        for rule, _, _ in self._drawn:
            if rule.chunk_latency or rule.chunk_jitter:
                seconds += self._chaos.spread(rule, self._key, rule.chunk_latency, rule.chunk_jitter, f"chunk-{chunk}")
                if not chunk:
                    self._note(rule, "slow-stream", "its stream is slow")
        return seconds

    def failed(self, rule: Rule, failure: Failure) -> None:
        """Notes that the call fails."""
        where = "" if rule.truncate_after is None else f" after {rule.truncate_after} chunks"
        if failure.error:
            self._note(rule, "truncated" if where else "error", f"fails with {failure.error}{where}")
        else:
            self._note(rule, "drop", f"loses its caller's link{where}")

    def _note(self, rule: Rule, fault: str, what: str) -> None:
        self._chaos.injected[rule.name, fault] += 1
        _log.info("chaos, rule %r: %s: %s", rule.name, self._key, what)


class Chaos:
    """Injects faults into calls. The fault of a call depends on the seed, the tool, the session, and which call it is.

    It does not depend on time or on the order of calls among sessions. Made by ``read_chaos``.

    Args:
        seed: The seed.
        rules: The rules. Each is drawn for each call; of several failures, the first happens, and delays add up.
        source: Where they are from, for people.

    Attributes:
        seed, rules, source: As given.
        injected: Injected faults, by the rule's name and the kind of the fault.
        drop_links: Ends the links of a session and returns how many; set by the server of the links.
    """

    def __init__(self, seed: int, rules: Sequence[Rule], source: str) -> None:
        self.seed = seed
        self.rules = tuple(rules)
        self.source = source
        self.injected: Counter[tuple[str, str]] = Counter()
        self.drop_links: Callable[[str], int] | None = None
        self._numbers: WeakKeyDictionary[Any, Counter[str]] = WeakKeyDictionary()

    def __str__(self) -> str:
        count = len(self.rules)
        return f"{self.source}, seed {self.seed}, {count} rule{'' if count == 1 else 's'}"

    def rules_of(self, tool: str) -> tuple[Rule, ...]:
        """Returns the rules that calls of a tool can match."""
        return tuple(rule for rule in self.rules if rule.matches_tool(tool))

    def draw(self, rules: Sequence[Rule], tool: str, session: NamedSession) -> Injection | None:
        """Counts a call, and returns its faults; None if it has none.

        Args:
            rules: From ``rules_of``.
            tool: The tool's name.
            session: The session of the call.
        """
        numbers = self._numbers.setdefault(session, Counter())
        numbers[tool] += 1
        key = CallKey(tool, session_name(session), numbers[tool])
        drawn = [
            Drawn(rule, self.spread(rule, key, rule.latency, rule.jitter, "latency"), rule.failure)
            for rule in rules
            if rule.matches(key.session, session.metadata, key.number)
            and self._uniform(rule, key, "fault") < rule.probability
        ]
        return Injection(self, key, drawn) if drawn else None

    def spread(self, rule: Rule, key: CallKey, seconds: float, jitter: float, what: str) -> float:
        """Returns ``seconds``, more or less by up to ``jitter``, and never below 0."""
        if not jitter:
            return seconds
        return max(0.0, seconds + (2 * self._uniform(rule, key, what) - 1) * jitter)

    def _uniform(self, rule: Rule, key: CallKey, what: str) -> float:
        return uniform(self.seed, rule.name, key.tool, key.session, key.number, what)
