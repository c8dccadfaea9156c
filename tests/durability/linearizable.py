"""Whether operations on one object could have happened one after the other.

Each operation takes effect at one moment between its start and its end; one of which nobody knows may also take none.
The search goes through starts and ends in the order of time, and keeps all states that the object can be in, each with
the operations under way that have taken effect in it already ("just-in-time linearization", as in Lowe's "Testing for
linearizability" and in Knossos, after Wing and Gong).
"""

from collections.abc import Callable, Hashable, Sequence

from durability.history import UNKNOWN, Operation

# Returns the state after an operation that ended as it did; None: it cannot have ended so in this state.
Step = Callable[[Hashable, Operation], Hashable | None]

# More states than this at once, and the search gives up.
MAX_CONFIGURATIONS = 200_000

Configuration = tuple[Hashable, frozenset[int]]


class UndecidedError(Exception):
    """There are too many orders in which the operations could have happened."""


def first_violation(operations: Sequence[Operation], initial: Hashable, step: Step) -> Operation | None:
    """Returns the first operation whose outcome no order explains; None: there is an order for all.

    Args:
        operations: Those on one object.
        initial: Its state before them.
        step: The object.

    Raises:
        UndecidedError: Too many orders are possible.
    """
    by_number = {operation.number: operation for operation in operations}
    events = sorted(
        [(operation.start, 0, operation.number) for operation in operations]
        # What ends at the moment where another begins is before it.
        + [(operation.closed, -1, operation.number) for operation in operations]
    )
    configurations: set[Configuration] = {(initial, frozenset())}
    under_way: set[int] = set()
    for _, is_end, number in events:
        if not is_end:
            under_way.add(number)
            continue
        configurations = _all_orders(configurations, [by_number[other] for other in under_way], step)
        under_way.remove(number)
        may_have_none = by_number[number].outcome in ("", UNKNOWN)
        configurations = {(state, done - {number}) for state, done in configurations if number in done or may_have_none}
        if not configurations:
            return by_number[number]
    return None


def _all_orders(configurations: set[Configuration], under_way: Sequence[Operation], step: Step) -> set[Configuration]:
    """Returns what may be after any of the operations under way took effect, in any order."""
    found = set(configurations)
    left = list(configurations)
    while left:
        state, done = left.pop()
        for operation in under_way:
            if operation.number in done:
                continue
            after = step(state, operation)
            # What may have no effect need not have one that changes nothing.
            if after is None or (after == state and operation.outcome in ("", UNKNOWN)):
                continue
            configuration = (after, done | {operation.number})
            if configuration not in found:
                found.add(configuration)
                left.append(configuration)
        if len(found) > MAX_CONFIGURATIONS:
            raise UndecidedError(f"more than {MAX_CONFIGURATIONS:,} states at once")
    return found
