"""A queue in which nobody is behind the many items of somebody else."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


class FairQueue(dict[T, str]):
    """Items in turns of their owners, and those of one owner in the order in which they came.

    An owner that comes waits behind the one item of each other owner that is first there, whatever their queues hold.
    With one owner it is a plain queue. It is a dict of the owners by item: each call asks whether anything waits, which
    must cost nothing.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        super().__init__()
        # By owner, in the order of their turns; none is empty.
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def append(self, item: T, owner: str = "") -> None:
        """Adds an item at the end of its owner's line."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = OrderedDict()
        line[item] = None
        self[item] = owner

    def remove(self, item: T) -> None:
        """Takes an item out, wherever it is; does nothing if it is not there."""
        owner = self.pop(item, None)
        if owner is None:
            return
        line = self._lines[owner]
        del line[item]
        if not line:
            del self._lines[owner]

    def displace(self, owner: str) -> T | None:
        """Takes out the item that came last of the owner with the most items, to make room for one of another owner.

        Returns:
            The item; None: nobody has more items than this owner would have.
        """
        most = max(self._lines, key=lambda other: len(self._lines[other]), default=owner)
        if len(self._lines.get(most, ())) <= len(self._lines.get(owner, ())) + 1:
            return None
        item = next(reversed(self._lines[most]))
        self.remove(item)
        return item

    def first(self) -> T:
        """Returns the item that is next; raises IndexError if there is none."""
        if not self._lines:
            raise IndexError("nothing waits")
        return next(iter(next(iter(self._lines.values()))))

    def take(self) -> T:
        """Takes out the item that is next; raises IndexError if there is none."""
        item = self.first()
        owner = self.pop(item)
        line = self._lines[owner]
        del line[item]
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return item
