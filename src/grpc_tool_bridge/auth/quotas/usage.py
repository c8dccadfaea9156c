"""What one principal has used of its quota."""

import time
from collections.abc import Callable

from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError

MINUTE = 60.0
DAY = 86_400.0


class Allowance:
    """An amount that may be used in a period: a bucket that refills evenly and holds one period's amount.

    Args:
        amount: Of one period.
        period: Seconds.
        now: Returns seconds of a clock that does not jump.

    Attributes:
        amount, period: As given.
        cost: Seconds in which one of the amount comes back.
        full_at: When it is full again, on the clock; the one number that changes.
    """

    __slots__ = ("_now", "amount", "cost", "full_at", "period")

    def __init__(self, amount: int, period: float, now: Callable[[], float] = time.monotonic) -> None:
        self.amount = amount
        self.period = period
        self.cost = period / amount
        self.full_at = 0.0
        self._now = now

    def level(self) -> float:
        """Returns what may be used now."""
        return self.amount - max(0.0, self.full_at - self._now()) / self.cost

    def seconds_until(self, used: int) -> float:
        """Returns how long it takes until an amount may be used; one that is over the whole, until it is full."""
        missing = min(used, self.amount) - self.level()
        return max(0.0, missing * self.cost)

    def use(self, used: int) -> None:
        """Uses an amount; one that is over what is left is taken from what comes."""
        self.full_at = max(self.full_at, self._now()) + used * self.cost


class Usage:
    """What one principal has used.

    Args:
        name: The principal, for error texts.
        rule: Its quota.
        max_waiting: Calls that may wait for ``concurrent_calls``.

    Attributes:
        rule: As given.
        limiter: Its calls that run at once; None: any number.
        counts_bytes: Whether its rule limits bytes.
        refused: How much was refused.
    """

    __slots__ = ("_bytes", "_calls", "_name", "_tokens", "counts_bytes", "limiter", "refused", "rule")

    def __init__(self, name: str, rule: QuotaRule, max_waiting: int) -> None:
        self._name = name
        self.rule = rule
        self.refused = 0
        self._calls = Allowance(rule.calls_per_minute, MINUTE) if rule.calls_per_minute else None
        self._bytes = Allowance(rule.bytes_per_minute, MINUTE) if rule.bytes_per_minute else None
        self.counts_bytes = self._bytes is not None
        self._tokens = Allowance(rule.agent_tokens_per_day, DAY) if rule.agent_tokens_per_day else None
        self.limiter: ConcurrencyLimiter | None = None
        if rule.concurrent_calls:
            self.limiter = ConcurrencyLimiter(rule.concurrent_calls, max_waiting, f"principal {name!r}")

    def may_take(self, size: int) -> bool:
        """Returns whether a call of ``size`` bytes is within the quota."""
        calls, data = self._calls, self._bytes
        if calls is not None and calls.level() < 1.0:
            return False
        return data is None or data.level() >= min(size, data.amount)

    def try_take(self, size: int, now: float) -> bool:
        """As ``take``; returns False, and counts nothing, if that would raise."""
        # Every call of the short way comes here: its steps are written out, and read no clock.
        calls, data = self._calls, self._bytes
        calls_at = 0.0
        if calls is not None:
            calls_at = calls.full_at
            if calls_at < now:  # noqa: PLR1730 - a call would cost more
                calls_at = now
            if calls_at - now > calls.period - calls.cost:
                return False
        if data is not None:
            data_at = data.full_at
            if data_at < now:  # noqa: PLR1730 - as above
                data_at = now
            if data_at > now and data_at - now > data.period - size * data.cost:
                return False
            data.full_at = data_at + size * data.cost
        if calls is not None:
            calls.full_at = calls_at + calls.cost
        return True

    def take(self, size: int) -> None:
        """Counts a call of ``size`` bytes.

        Raises:
            ResourceExhaustedError: The quota is used up (RateLimitExceeded); nothing was counted.
        """
        calls, data = self._calls, self._bytes
        if calls is not None and calls.level() < 1.0:
            raise self._over(f"{calls.amount:,} calls a minute", calls.seconds_until(1))
        if data is not None and data.level() < min(size, data.amount):
            raise self._over(f"{data.amount:,} bytes a minute", data.seconds_until(size))
        if calls is not None:
            calls.use(1)
        if data is not None:
            data.use(size)

    def take_bytes(self, size: int) -> None:
        """Counts bytes of what is no call; raises as ``take``."""
        data = self._bytes
        if data is None:
            return
        if data.level() < min(size, data.amount):
            raise self._over(f"{data.amount:,} bytes a minute", data.seconds_until(size))
        data.use(size)

    def use_bytes(self, size: int, now: float) -> None:
        """Counts bytes of an answer, which is there; those over what is left are taken from what comes."""
        data = self._bytes
        if data is not None:
            at = data.full_at
            data.full_at = (max(now, at)) + size * data.cost

    def check_sessions(self, present: int) -> None:
        """Refuses a further session.

        Args:
            present: Sessions that the principal has.

        Raises:
            ResourceExhaustedError: It has as many as it may.
        """
        most = self.rule.sessions
        if most and present >= most:
            self.refused += 1
            raise ResourceExhaustedError(
                f"principal {self._name!r} has {present:,} sessions, which is its quota; end one first"
            )

    def check_tokens(self) -> None:
        """Refuses a further agent run, or a further step of one, once the day's tokens are used; raises as ``take``."""
        tokens = self._tokens
        if tokens is not None and tokens.level() < 1.0:
            raise self._over(f"{tokens.amount:,} tokens of agents a day", tokens.seconds_until(1))

    def use_tokens(self, tokens: int) -> None:
        """Counts tokens that a model has taken; those over the quota are taken from what comes."""
        if self._tokens is not None:
            self._tokens.use(tokens)

    def _over(self, what: str, seconds: float) -> ToolBridgeError:
        self.refused += 1
        return ResourceExhaustedError(
            f"principal {self._name!r} may use {what}, and has used them; call again in {seconds:.1f} s",
            error_type="RateLimitExceeded",
            details={"retry_after": f"{seconds:.3f}"},
        )
