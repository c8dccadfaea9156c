"""Facts about a class, read without running any of its code.

``error.__class__``, ``isinstance`` and ``kind.__name__`` call the object or its metaclass, which may return or raise
anything and take any time. ``type(…)`` and the slots of ``type`` itself cannot be overridden.
"""

from typing import Any

# Stands for an attribute that no class in the MRO has.
ABSENT: Any = object()

_read_mro = type.__dict__["__mro__"].__get__
_read_dict = type.__dict__["__dict__"].__get__
_read_name = type.__dict__["__name__"].__get__
_read_qualname = type.__dict__["__qualname__"].__get__


def exact_text(text: str) -> str:
    """Returns a text as an exact ``str``, because a subclass may override any method."""
    return text if type(text) is str else str.__str__(text)


def class_name(kind: type) -> str:
    """Returns the name of a class; never empty."""
    return exact_text(_read_name(kind)) or "?"


def class_path(kind: type) -> str:
    """Returns the qualified name of a class, with its module unless that is builtins or __main__."""
    module = _read_dict(kind).get("__module__")
    name = exact_text(_read_qualname(kind)) or "?"
    return name if type(module) is not str or module in ("builtins", "__main__") else f"{module}.{name}"


def bases_of(kind: type) -> tuple[type, ...]:
    """Returns a class and its bases, in method resolution order."""
    made: tuple[type, ...] = _read_mro(kind)
    return made


def static_attribute(kind: type, name: str) -> Any:
    """Returns an attribute of a class or its bases, unbound; ABSENT if none of them has it."""
    for base in bases_of(kind):
        found = _read_dict(base).get(name, ABSENT)
        if found is not ABSENT:
            return found
    return ABSENT
