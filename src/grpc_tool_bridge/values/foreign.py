"""Keeps code of strangers out of the event loop: the ``next`` of an iterator, the ``__array__`` or ``str`` of a class.

Such code can take any time. Where a value is written in an event loop, ``foreign`` interrupts it before the first line
of a stranger's runs, and whoever began writes the value once more in a thread.
"""

import abc
import asyncio
import enum
import sys
import threading
import types
from functools import lru_cache
from typing import Any

from grpc_tool_bridge.errors.class_facts import bases_of, static_attribute

# What runs code of a class whenever one of its instances is looked at, as ``isinstance`` and ``getattr`` do.
_ACCESS = ("__getattribute__", "__class__")
# Attributes that are written in C.
_NO_CODE = (types.WrapperDescriptorType, types.MethodDescriptorType, types.GetSetDescriptorType)
_META_ACCESS = ("__getattribute__", "__getattr__", "__hash__", "__eq__")


class ForeignCodeError(BaseException):
    """Writing this value needs a thread. Not an Exception: it is meant for none of the handlers on its way."""


class _Allowed(threading.local):
    """Whether the caller in this thread has asked to have its value written in place."""

    here = False


_allowed = _Allowed()


def foreign(value: object) -> None:
    """Called before code of a stranger's runs for ``value``, such as its ``__array__``.

    Raises:
        ForeignCodeError: This is an event loop's thread.
    """
    if _allowed.here:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ForeignCodeError(type(value).__name__)


class in_place:  # noqa: N801 - it stands in a with statement, where a generator's frame would cost more
    """Lets code of strangers run in this thread, for a program that writes a value itself."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _allowed.here
        _allowed.here = True

    def __exit__(self, *_: object) -> None:
        _allowed.here = self._before


def has_own_access(kind: type) -> bool:
    """Tells whether to look at an instance of a class runs code of the class, or of its metaclass."""
    meta = type(kind)
    return (meta is not type and _has_own_meta_access(meta)) or _has_own_access(kind)


@lru_cache(maxsize=4_096)
def _has_own_access(kind: type) -> bool:
    return any(type(static_attribute(kind, name)) not in _NO_CODE for name in _ACCESS)


@lru_cache(maxsize=256)
def _has_own_meta_access(meta: type) -> bool:
    if type(meta) is not type:
        return True
    known = (type, abc.ABCMeta, enum.EnumType, object, _models())
    return any(name in base.__dict__ for base in bases_of(meta) if base not in known for name in _META_ACCESS)


def _models() -> Any:
    """The metaclass of pydantic's models, whose ``__getattr__`` is for private attributes."""
    return getattr(sys.modules.get("pydantic._internal._model_construction"), "ModelMetaclass", type)
