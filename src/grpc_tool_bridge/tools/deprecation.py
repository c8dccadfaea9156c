"""Warns of deprecated tools, at the line of the program that calls one."""

import sys
import warnings

_PACKAGE = f"{__name__.partition('.')[0]}."


def warn_deprecated(name: str, replacement: str) -> None:
    """Warns that a tool is deprecated, and says what to use instead."""
    text = f"the tool {name} is deprecated: {replacement}"
    warnings.warn(text, DeprecationWarning, stacklevel=_callers_level())


def _callers_level() -> int:
    """Returns how many frames above ``warn_deprecated`` the first one is that is not of this package."""
    # That of this function is 0, that of ``warn_deprecated`` 1.
    frame, level = sys._getframe(2), 2  # noqa: SLF001 - the only way to the frames
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
