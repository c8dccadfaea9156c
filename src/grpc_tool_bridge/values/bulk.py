"""Whether a value of Python's is so large that an event loop would be held up by going through it."""

import types
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

# Items that are gone through in an event loop, at some 10 µs each where they are objects.
_ITEMS_IN_LOOP = 2_000
# What an object takes more than an item that is plain.
_WORK_OF_OBJECT = 10

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
# What stands for itself, whatever hangs on it.
_WHOLE = (type, Enum, types.FunctionType, types.ModuleType)
_SEQUENCES = frozenset({list, tuple, set, frozenset})


def is_bulky(value: Any) -> bool:
    """Tells whether a value, with all that its containers and the fields of its objects hold, is large.

    No code of a stranger's runs: what cannot be seen without that, such as fields in slots, counts as large.
    """
    waiting = [value]
    work = 0
    while waiting:
        item = waiting.pop()
        kind: Any = type(item)
        if kind in _PLAIN:
            continue
        if kind in _SEQUENCES:
            work += len(item)
            inner = item
        elif kind is dict:
            work += 2 * len(item)
            inner = item.values()
        else:
            fields = _fields_of(kind)
            if fields is None:
                return True
            work += _WORK_OF_OBJECT
            inner = fields(item).values()
        if work > _ITEMS_IN_LOOP:
            return True
        waiting.extend(part for part in inner if type(part) not in _PLAIN)
    return False


@lru_cache(maxsize=1_024)
def _fields_of(kind: Any) -> Callable[[Any], dict[str, Any]] | None:
    """Gives what reads the fields of an object of this class; None where they cannot be seen."""
    if issubclass(kind, _WHOLE):
        return _no_fields
    found = next((vars(base)["__dict__"] for base in kind.__mro__ if "__dict__" in vars(base)), None)
    if isinstance(found, types.GetSetDescriptorType):
        return found.__get__
    seen = found is None and not hasattr(kind, "__dataclass_fields__") and not hasattr(kind, "__struct_fields__")
    return _no_fields if seen else None


def _no_fields(_: Any) -> dict[str, Any]:
    return {}
