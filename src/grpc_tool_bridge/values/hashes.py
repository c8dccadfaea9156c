"""Detects members of a set and keys of a dict that a peer has chosen to have the same hash.

The hashes of Python's texts and bytes are secret. Those of numbers, datetimes and tuples can be computed, and building
a set of many members with equal hashes takes quadratic time.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from operator import eq
from typing import Any

# Ordinary data does not come near: of the powers of two that fit a double, 35 share a hash.
MAX_SAME_HASH = 100


def same_hashes(items: Collection[Any]) -> frozenset[int]:
    """Finds the hashes that more than MAX_SAME_HASH items have, counting equal items each."""
    if len(items) <= MAX_SAME_HASH:
        return frozenset()
    # Sorted, since the keys of a dict of hashes would again be chosen by the peer.
    hashes = sorted(map(hash, items))
    later = islice(hashes, MAX_SAME_HASH, None)
    if not any(map(eq, hashes, later)):
        return frozenset()
    pairs = zip(hashes, hashes[MAX_SAME_HASH:], strict=False)
    return frozenset(one for one, other in pairs if one == other)


def have_same_hash(items: Iterable[Any], suspects: frozenset[int]) -> bool:
    """Returns whether more than MAX_SAME_HASH different items share one of the ``suspects`` hashes."""
    seen: dict[int, set[Any]] = {}
    for item in items:
        number = hash(item)
        if number in suspects:
            known = seen.setdefault(number, set())
            known.add(item)
            if len(known) > MAX_SAME_HASH:
                return True
    return False
