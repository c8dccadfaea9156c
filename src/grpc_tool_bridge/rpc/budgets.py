"""Memory budgets: how many bytes a hub, a session and a connection may hold.

What is held for peers is charged before it is stored: requests until they are answered, answers until they are sent,
variables, caches. Connections and sessions have budgets of their own, whose charges count towards the hub's. A charge
costs an addition or two, so small requests are not charged one by one on the fast path.
"""

from collections.abc import Callable

from grpc_tool_bridge.errors import ResourceExhaustedError

MIB = 1024 * 1024

# Charges up to this size may use all of a budget; larger ones leave its last sixteenth. So a hub that is full of large
# requests still answers those that manage it: health, heartbeats, cancellations, metrics.
SMALL_BYTES = 16 * 1024
RESERVED_PART = 16

# Seconds after which a refused peer should try again.
RETRY_AFTER = "1"


class Budget:
    """How many bytes one owner may hold.

    Args:
        limit: Bytes.
        owner: The owner, for error texts.
        setting: The setting that increases the limit, for error texts.
        parent: A budget that everything charged here counts towards as well.

    Attributes:
        limit, owner, setting: As given.
        used: Bytes that are held.
        refused: Number of refused charges.
        peak: Most bytes that were held since it was last reset.
    """

    __slots__ = (
        "_large_limit",
        "_parent",
        "_shared",
        "limit",
        "make_room",
        "owner",
        "peak",
        "refused",
        "setting",
        "used",
    )

    def __init__(self, limit: int, *, owner: str, setting: str, parent: "Budget | None" = None) -> None:
        self.limit = limit
        self.owner = owner
        self.setting = setting
        self.used = 0
        self.refused = 0
        self.peak = 0
        # Called with the number of missing bytes, to free memory before a charge is refused.
        self.make_room: Callable[[int], None] | None = None
        self._large_limit = limit - limit // RESERVED_PART
        self._parent = parent
        # The part of ``used`` that the parent was charged as well.
        self._shared = 0

    @property
    def free(self) -> int:
        """Bytes that may be charged now at any size."""
        room = max(0, self._large_limit - self.used)
        return room if self._parent is None else min(room, self._parent.free)

    def is_full_for(self, size: int) -> "Budget | None":
        """Returns the budget that has no room for ``size`` bytes, this one or a parent; None if there is room."""
        limit = self.limit if size <= SMALL_BYTES else self._large_limit
        if self.used + size > limit:
            if self.make_room is None:
                return self
            self.make_room(self.used + size - limit)
            if self.used + size > limit:
                return self
        return self._parent.is_full_for(size) if self._parent is not None else None

    def is_over(self) -> "Budget | None":
        """Returns the budget, this one or a parent, that exceeds the limit for large charges; None if none does."""
        if self.used > self._large_limit:
            if self.make_room is not None:
                self.make_room(self.used - self._large_limit)
            if self.used > self._large_limit:
                return self
        return self._parent.is_over() if self._parent is not None else None

    def take(self, size: int, what: str) -> None:
        """Charges ``size`` bytes for ``what``.

        Raises:
            ResourceExhaustedError: There is no room; nothing was charged.
        """
        full = self.is_full_for(size)
        if full is not None:
            raise self.refusal(full, size, what)
        self.charge(size)

    def charge(self, size: int) -> None:
        """Charges ``size`` bytes that are held already, even beyond the limit."""
        self.used += size
        self._shared += size
        if self.used > self.peak:  # noqa: PLR1730 - of every call, where max() would be felt
            self.peak = self.used
        if self._parent is not None:
            self._parent.charge(size)

    def give_back(self, size: int) -> None:
        """Releases a charge."""
        self.used -= size
        self._shared -= size
        if self._parent is not None:
            self._parent.give_back(size)

    def take_own(self, size: int, what: str) -> None:
        """Charges this budget only: the parent is charged elsewhere.

        Raises:
            ResourceExhaustedError: There is no room.
        """
        if self.used + size > self.limit:
            raise self.refusal(self, size, what)
        self.used += size

    def give_back_own(self, size: int) -> None:
        """Releases a charge of ``take_own``."""
        self.used -= size

    def close(self) -> None:
        """Releases all that the parent was charged: the owner has ended."""
        self.give_back(self._shared)
        self._parent = None

    def refusal(self, full: "Budget", size: int, what: str) -> ResourceExhaustedError:
        """Returns the error for a charge that the budget ``full`` has no room for, and counts it."""
        full.refused += 1
        return ResourceExhaustedError(
            f"{what} of {size:,} bytes was refused: {full.owner} holds {full.used:,} of {full.limit:,} bytes "
            f"({full.setting}); call again when some of it was answered or deleted",
            details={"retry_after": RETRY_AFTER},
        )


class Lease:
    """A charge that grows and shrinks.

    Args:
        budget: The budget to charge.
        what: What is charged, for error texts.
    """

    __slots__ = ("_budget", "_what", "size")

    def __init__(self, budget: Budget, what: str) -> None:
        self._budget = budget
        self._what = what
        self.size = 0

    def resize(self, size: int) -> None:
        """Sets the charge to ``size`` bytes.

        Raises:
            ResourceExhaustedError: There is no room for more; the charge is unchanged.
        """
        more = size - self.size
        if more > 0:
            self._budget.take(more, self._what)
        elif more:
            self._budget.give_back(-more)
        self.size = size

    def set(self, size: int) -> None:
        """Sets the charge to ``size`` bytes that are held already, even beyond the limit."""
        self._budget.charge(size - self.size)
        self.size = size

    def release(self) -> None:
        """Releases the charge."""
        self._budget.give_back(self.size)
        self.size = 0
