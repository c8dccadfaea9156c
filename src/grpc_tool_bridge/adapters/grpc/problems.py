"""What is wrong with a value, and where in it."""

from collections.abc import Iterable
from typing import Any

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.tools.wording import show

# Levels of messages in messages; protobuf reads no more than 100. The value of a map is two levels deeper, and so is an
# item of a list in a value of any type; in such a value, a dict takes three.
MAX_LEVELS = 96
LEVELS_OF_ENTRY = 2
LEVELS_OF_LIST = 2
LEVELS_OF_DICT = 3
# After this many problems of one value, no more are looked for.
MAX_PROBLEMS = 20
# How many names the text about an unknown one lists, if none looks like it.
_MAX_LISTED = 20
_MAX_NAME_CHARS = 64


class WrongError(Exception):
    """A value that a message cannot hold.

    Attributes:
        problems: A text for each place in the value; the value itself has no path.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__(*problems)
        self.problems = list(problems)


class TooDeepError(Exception):
    """A message is nested deeper than ``MAX_LEVELS``."""


def wrong(expected: str, value: Any) -> WrongError:
    """Returns the error for a value that is something else than is expected."""
    return WrongError(("", f"should be {expected}, got {show(value)}"))


def too_deep() -> WrongError:
    """Returns the error for a value that is nested deeper than ``MAX_LEVELS``, or contains itself."""
    return said(f"is nested deeper than {MAX_LEVELS} levels of messages, or contains itself")


def said(text: str) -> WrongError:
    """Returns the error for a value, in other words."""
    return WrongError(("", text))


class Problems:
    """Collects what is wrong in the parts of a value."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, step: str, error: WrongError) -> None:
        """Adds what is wrong in one part; ``step`` leads there, such as ".city" or "[3]".

        Raises:
            WrongError: There are enough.
        """
        self._found.extend((f"{step}{path}", text) for path, text in error.problems)
        if len(self._found) >= MAX_PROBLEMS:
            self.end()

    def end(self) -> None:
        """Raises WrongError if there are any."""
        if self._found:
            raise WrongError(*self._found[:MAX_PROBLEMS])


def step_to(name: Any) -> str:
    """Returns the step to a field, by its name or as an extension."""
    text = name if isinstance(name, str) else repr(name)
    text = text if len(text) <= _MAX_NAME_CHARS or text.startswith("[") else f"{text[:_MAX_NAME_CHARS]}…"
    return text if text.startswith("[") else f".{text}"


def unknown(name: Any, known: Iterable[str], owner: str) -> WrongError:
    """Returns the error for a field that a message does not have."""
    names = list(known)
    close = near_names(name, names, n=1) if isinstance(name, str) else []
    if close:
        return said(f"unknown, did you mean '{close[0]}'?")
    listed = ", ".join(f"'{item}'" for item in names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += f" and {len(names) - _MAX_LISTED} more"
    return said(f"unknown, {owner} has {listed}" if listed else f"unknown, {owner} has no fields")


def as_validation_error(what: str, error: WrongError) -> ValidationError:
    """Returns what the caller is told: each wrong argument, or part of it, by its path."""
    details: dict[str, str] = {}
    for path, text in error.problems:
        place = path.removeprefix(".")
        details[place] = f"{details[place]}; {text}" if place in details else text
    told = [f"argument '{place}': {text}" if place else text for place, text in details.items()]
    return ValidationError(f"{what}: {'; '.join(told)}", details=details)
