"""Finds the names that an unknown name may have meant, and says so in an error."""

import difflib
from collections.abc import Collection
from heapq import nlargest

# With more names than this, nothing is searched. Otherwise, the names that share most letters with the wrong one are
# taken.
MAX_NAMES = 500
# This many of them are then compared letter by letter, which takes quadratic time.
MAX_COMPARED = 5
MAX_CHARS = 64


def near_names(wrong: str, names: Collection[str], *, n: int = 3) -> list[str]:
    """Finds the names that look most like a wrong one, in a few milliseconds at most.

    Args:
        wrong: The wrong name; if it has more than ``MAX_CHARS`` characters, nothing is found.
        names: The valid names; if there are more than ``MAX_NAMES``, nothing is found.
        n: Maximum number of results, most similar first.
    """
    size = len(wrong)
    if size > MAX_CHARS or len(names) > MAX_NAMES:
        return []
    letters = set(wrong.lower())

    def shared(name: str) -> float:
        return 2 * len(letters & set(name.lower())) - len(set(name)) - abs(len(name) - size)

    # Names whose lengths differ too much are never similar enough.
    alike = (name for name in names if size < 3 * len(name) + 3 and len(name) < 3 * size + 3)
    candidates = nlargest(MAX_COMPARED, (name for name in alike if len(name) <= MAX_CHARS), key=shared)
    return difflib.get_close_matches(wrong, candidates, n=n)


def did_you_mean(wrong: str, names: Collection[str], otherwise: str = "", *, n: int = 3, quoted: bool = False) -> str:
    """Returns the end of an error about an unknown name, such as ``; did you mean add or plus?``.

    Args:
        wrong: The wrong name, as for ``near_names``.
        names: The valid names.
        otherwise: What to do if none of them is similar; empty: nothing is said then.
        n: Maximum number of names.
        quoted: Whether the names are quoted: they may have spaces.
    """
    close = near_names(wrong, names, n=n)
    if close:
        return f"; did you mean {' or '.join(map(repr, close) if quoted else close)}?"
    return f"; {otherwise}" if otherwise else ""
