"""Keeps code of strangers out of the event loop: the ``next`` of an iterator, the ``__array__`` or ``str`` of a class.

Such code can take any time. Where a value is written in an event loop, ``foreign`` interrupts it before the first line
of a stranger's runs, and whoever began writes the value once more in a thread.
"""

import asyncio
import threading


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
