"""What somebody may have meant who wrote a name that is not there."""

import difflib
from collections.abc import Collection
from heapq import nlargest

# Of more names than these none is looked for. Of these, those that share most letters with the wrong one are found.
MAX_NAMES = 500
# So many of them are then compared letter by letter, which takes time by the square of their lengths.
MAX_COMPARED = 5
MAX_CHARS = 64


def near_names(wrong: str, names: Collection[str], *, n: int = 3) -> list[str]:
    """Finds the names that look most like a wrong one, in a few milliseconds at most.

    Args:
        wrong: The wrong name; one of more than ``MAX_CHARS`` characters is like none.
        names: The right ones; of more than ``MAX_NAMES`` none is found.
        n: At most so many are returned, the most alike first.
    """
    size = len(wrong)
    if size > MAX_CHARS or len(names) > MAX_NAMES:
        return []
    letters = set(wrong.lower())

    def shared(name: str) -> float:
        return 2 * len(letters & set(name.lower())) - len(set(name)) - abs(len(name) - size)

    # A name of another length by so much is never close enough.
    alike = (name for name in names if size < 3 * len(name) + 3 and len(name) < 3 * size + 3)
    candidates = nlargest(MAX_COMPARED, (name for name in alike if len(name) <= MAX_CHARS), key=shared)
    return difflib.get_close_matches(wrong, candidates, n=n)
