"""Members of a set and keys of a dict that a peer has chosen so that they all have one hash.

Python's texts and bytes have hashes that nobody outside can know. Those of numbers, moments and tuples can be computed,
and a set of many that are equal takes time that grows with the square of their number.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from operator import eq
from typing import Any

# No program's own data comes near: of the powers of two that a double can be, 35 share a hash.
MAX_SAME_HASH = 100


def same_hashes(items: Collection[Any]) -> frozenset[int]:
    """Finds the hashes that more than MAX_SAME_HASH of some items have; equal items count each."""
    if len(items) <= MAX_SAME_HASH:
        return frozenset()
    # Sorted, since a dict of hashes would itself be one of keys that a peer has chosen.
    hashes = sorted(map(hash, items))
    later = islice(hashes, MAX_SAME_HASH, None)
    if not any(map(eq, hashes, later)):
        return frozenset()
    pairs = zip(hashes, hashes[MAX_SAME_HASH:], strict=False)
    return frozenset(one for one, other in pairs if one == other)


def have_same_hash(items: Iterable[Any], suspects: frozenset[int]) -> bool:
    """Returns whether more than MAX_SAME_HASH items that differ have one hash, one of ``suspects``."""
    seen: dict[int, set[Any]] = {}
    for item in items:
        number = hash(item)
        if number in suspects:
            known = seen.setdefault(number, set())
            known.add(item)
            if len(known) > MAX_SAME_HASH:
                return True
    return False
