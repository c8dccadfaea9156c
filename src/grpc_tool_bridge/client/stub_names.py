"""Python names for tools, their arguments and their types, in a module of stubs."""

import itertools
import keyword
import re
import unicodedata
from collections.abc import Iterable

# A longer name of a class is cut off.
_MAX_CLASS_CHARS = 40
_NOT_IN_NAMES = re.compile(r"\W+")
_WORDS = re.compile(r"[^\W_]+")


class Names:
    """Names of one scope, each given once.

    Args:
        reserved: Names that are not given; one that is wanted gets an underscore after it.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._taken = set(self._reserved)

    def take(self, *names: str) -> str:
        """Takes the first of these names that is free, else the last with the first free number."""
        wanted = [f"{name}_" if name in self._reserved else name for name in names]
        numbered = (f"{wanted[-1].rstrip('_')}_{number}" for number in itertools.count(2))
        free = next(name for name in itertools.chain(wanted, numbered) if name not in self._taken)
        self._taken.add(free)
        return free


def identifier(name: str, prefix: str) -> str:
    """Makes a Python identifier of a name, such as ``get_page`` of ``get-page`` and ``class_`` of ``class``.

    Args:
        name: Any text.
        prefix: Comes before a name that cannot begin an identifier.

    Returns:
        An identifier that is no keyword. It does not begin with two underscores, which mean something else in a class.
    """
    made = _NOT_IN_NAMES.sub("_", unicodedata.normalize("NFKC", name))
    if made.startswith("__"):
        made = made.strip("_")
    # Letters of some scripts are words for re, but not for Python.
    made = "".join(letter if f"a{letter}".isidentifier() else "_" for letter in made)
    if not made.isidentifier():
        made = f"{prefix}_{made}".rstrip("_")
    return f"{made}_" if keyword.iskeyword(made) else made


def class_name(text: str) -> str:
    """Makes a name of a class, such as ``OrdersCreate`` of ``orders.create``."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", text))
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return identifier(joined[:_MAX_CLASS_CHARS] or "Value", "Type")
