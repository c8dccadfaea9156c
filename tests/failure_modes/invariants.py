"""What holds whatever the network does: the model that the failure suite compares a hub with.

Every call ends within its deadline and ``MARGIN`` seconds, with its one right result or one typed error. What has an
idempotency key takes effect at most once, and exactly once if a result was received. Acknowledged changes of variables
are never lost or reordered while the hub lives.
"""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge import (
    DeadlineExceededError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    UnavailableError,
)
from grpc_tool_bridge.client.caller import CLIENT_SLACK
from support.patience import PATIENCE

# Seconds after its deadline until a call has ended: those that the client waits for the answer to arrive, and the
# period of its sweep.
MARGIN = CLIENT_SLACK + 0.25
# Seconds more on a machine that is busy with other tests.
_BUSY = PATIENCE / 3

# The hub, if it is elsewhere.
GRPC_ADDR = os.environ.get("GRPC_ADDR")

# What a failing network may do to a call.
CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
TYPES = frozenset({"TimeoutError", "WorkerUnavailable"})
# A hub elsewhere forgets a tool whose worker does not come back for some seconds, and a worker of another test process
# may leave it.
_TYPES_ELSEWHERE = frozenset({"ToolNotFound", "Cancelled"})


def is_typed(error: BaseException) -> bool:
    """Returns whether an error says what a failing network has done to a call."""
    if isinstance(error, ToolCommunicationError):
        return error.code_name in CODES
    if isinstance(error, ToolExecutionError):
        return error.error_type in (TYPES | _TYPES_ELSEWHERE if GRPC_ADDR else TYPES)
    return isinstance(error, DeadlineExceededError | UnavailableError)


@dataclass
class Ledger:
    """The calls of one caller, and what was wrong with them.

    Attributes:
        begun: Calls that have begun.
        ended: Calls that have ended.
        right: Those with their right result.
        errors: Those with a typed error, by its text.
        wrong: What the invariants do not allow.
    """

    begun: int = 0
    ended: int = 0
    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def call(self, what: str, call: Awaitable[Any], *, deadline: float, is_right: Callable[[Any], bool]) -> bool:
        """Awaits a call; returns whether its result is right, and notes what must not be.

        Args:
            what: Names the call.
            call: The call.
            deadline: Seconds that it was given.
            is_right: Whether this is its result.
        """
        self.begun += 1
        time_limit = asyncio.timeout(deadline + MARGIN + _BUSY)
        try:
            async with time_limit:
                result = await call
        except ToolBridgeError as error:
            return self._failed(what, error)
        except Exception as error:
            if time_limit.expired():
                late = f"{MARGIN + _BUSY:g} s after its deadline of {deadline:g} s"
                self.wrong.append(f"{what} has not ended {late}")
            else:
                self.wrong.append(f"{what} ended with {error!r}, which is no error of the bridge")
        else:
            if is_right(result):
                self.right += 1
                return True
            self.wrong.append(f"{what} ended with {result!r:.200}")
        finally:
            self.ended += 1
        return False

    def _failed(self, what: str, error: ToolBridgeError) -> bool:
        if is_typed(error):
            self.errors[f"{error!s:.200}"] += 1
        else:
            self.wrong.append(f"{what} ended with {type(error).__name__}: {error}")
        return False


@dataclass
class Effects:
    """What was to take effect, and what did.

    Attributes:
        asked: The keys of all calls, and whether one of them was answered.
    """

    asked: dict[str, bool] = field(default_factory=dict)

    def compare(self, counts: dict[str, int]) -> Iterable[str]:
        """Names what took effect more than once, or did not although it was acknowledged."""
        for key, was_answered in self.asked.items():
            count = counts.get(key, 0)
            if count > 1:
                yield f"{key} took effect {count} times"
            if was_answered and not count:
                yield f"{key} was acknowledged and never took effect"


@dataclass
class Writes:
    """Changes of one variable, each to a higher number.

    Attributes:
        acknowledged: The numbers that were acknowledged, with their revisions, in this order.
        tried: The highest number that was sent.
    """

    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    tried: int = -1

    def compare(self, history: list[tuple[int, int]]) -> Iterable[str]:
        """Names what a reader who missed nothing did not see, or saw in another order.

        Args:
            history: The numbers that the variable had, with their revisions, in the order in which they were seen.
        """
        if [revision for _, revision in history] != sorted({revision for _, revision in history}):
            yield f"the revisions {history} do not rise"
        seen = dict(history)
        for number, revision in self.acknowledged:
            if seen.get(number) != revision:
                yield f"{number} was acknowledged with revision {revision}, and is not in {history}"
        revisions = [revision for _, revision in self.acknowledged]
        if revisions != sorted(set(revisions)):
            yield f"the acknowledged revisions {revisions} do not rise"


def is_complete(seen: list[tuple[int, int]]) -> bool:
    """Returns whether one watch saw each number, with its revision, once, in order and without a gap."""
    pairs = itertools.pairwise(seen)
    # A number is written again where nobody knows whether it was.
    return all(
        number <= following <= number + 1 and revision < later for (number, revision), (following, later) in pairs
    )


def rises(seen: list[tuple[int, int]]) -> bool:
    """Returns whether watches, of which each begins with the present value, saw the numbers in order."""
    return all(one <= other for one, other in itertools.pairwise(seen))
