"""Calls of tools that a test has recorded, and what it asserts of them."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

# Characters of one argument or result in the text of a failed assertion.
_MAX_SHOWN_CHARS = 200
# Calls that such a text lists.
_MAX_LISTED = 20

_shorten = reprlib.Repr()
_shorten.maxother = _shorten.maxstring = _shorten.maxlong = _MAX_SHOWN_CHARS


@dataclass(slots=True, eq=False)
class RecordedCall:
    """A call of a tool.

    Attributes:
        tool: The tool's name.
        args: The arguments by position.
        kwargs: The arguments by name.
        result: What it returned; of a stream, the list of the values so far.
        error: What its caller got instead; None if it succeeded, or still runs.
        is_done: Whether it has ended.
        names: Names of the arguments that can be given by position, in order.
    """

    tool: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    error: BaseException | None = None
    is_done: bool = False
    names: Sequence[str] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments by name, except those by position that have no name."""
        return {**dict(zip(self.names, self.args, strict=False)), **self.kwargs}

    def has(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Returns whether it was called with these arguments, each by position or by name."""
        other = RecordedCall(self.tool, tuple(args), dict(kwargs), names=self.names)
        mine, others = self.arguments, other.arguments
        extra, other_extra = self.args[len(self.names) :], other.args[len(self.names) :]
        return (
            mine.keys() == others.keys()
            and len(extra) == len(other_extra)
            and all(_is_same(mine[name], others[name]) for name in mine)
            and all(map(_is_same, extra, other_extra))
        )

    def __str__(self) -> str:
        given = [*map(_shorten.repr, self.args), *(f"{name}={_shorten.repr(it)}" for name, it in self.kwargs.items())]
        end = f" -> {_shorten.repr(self.result)}" if self.is_done else " still runs"
        if self.error is not None:
            end = f" raised {_shorten.repr(self.error)}"
        return f"{self.tool}({', '.join(given)}){end}"

    __repr__ = __str__


class ToolCalls(Sequence[RecordedCall]):
    """Recorded calls in the order in which they began, of all tools or of one.

    Args:
        calls: All calls; new ones are seen at once.
        tool: Only the calls of this tool; None: of all.
    """

    def __init__(self, calls: list[RecordedCall] | None = None, tool: str | None = None) -> None:
        self._calls = [] if calls is None else calls
        self._tool = tool

    def of(self, tool: str) -> "ToolCalls":
        """Returns the calls of one tool, by its name."""
        return ToolCalls(self._calls, tool)

    def add(self, call: RecordedCall) -> None:
        """Adds a call."""
        self._calls.append(call)

    def clear(self) -> None:
        """Forgets the calls so far."""
        self._calls[:] = [call for call in self._calls if self._tool is not None and call.tool != self._tool]

    @property
    def tools(self) -> list[str]:
        """The name of the tool of each call."""
        return [call.tool for call in self._own()]

    def _own(self) -> list[RecordedCall]:
        return [call for call in list(self._calls) if self._tool in (None, call.tool)]

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[RecordedCall]:
        return iter(self._own())

    @overload
    def __getitem__(self, index: int) -> RecordedCall: ...
    @overload
    def __getitem__(self, index: slice) -> list[RecordedCall]: ...
    def __getitem__(self, index: int | slice) -> RecordedCall | list[RecordedCall]:
        return self._own()[index]

    def __repr__(self) -> str:
        return f"<ToolCalls: {', '.join(map(str, self)) or 'none'}>"

    # ----------------------------------------------------------------------------------------------- assertions

    def assert_called(self) -> None:
        """Fails if there is no call."""
        if not self._own():
            raise AssertionError(f"{self._name} was not called{self._others()}")

    def assert_not_called(self) -> None:
        """Fails if there is a call."""
        if self._own():
            raise AssertionError(f"{self._name} was called{self._listed()}")

    def assert_called_once(self) -> None:
        """Fails unless there is exactly one call."""
        self.assert_called()
        count = len(self)
        if count != 1:
            raise AssertionError(f"{self._name} was called {count} times, not once{self._listed()}")

    def assert_called_with(self, *args: Any, **kwargs: Any) -> None:
        """Fails unless the last call had these arguments, each by position or by name."""
        self.assert_called()
        if not self[-1].has(args, kwargs):
            raise AssertionError(f"{self._name} was last called with other arguments{self._wanted(args, kwargs)}")

    def assert_called_once_with(self, *args: Any, **kwargs: Any) -> None:
        """Fails unless there is exactly one call, with these arguments, each by position or by name."""
        self.assert_called_once()
        if not self[0].has(args, kwargs):
            raise AssertionError(f"{self._name} was called with other arguments{self._wanted(args, kwargs)}")

    def assert_any_call(self, *args: Any, **kwargs: Any) -> None:
        """Fails unless one of the calls had these arguments, each by position or by name."""
        self.assert_called()
        if not any(call.has(args, kwargs) for call in self):
            raise AssertionError(f"{self._name} was never called with these arguments{self._wanted(args, kwargs)}")

    @property
    def _name(self) -> str:
        return "no tool" if self._tool is None and not self._own() else self._tool or "a tool"

    def _others(self) -> str:
        called = sorted({call.tool for call in self._calls})
        return f"; called: {', '.join(called)}" if called else ", nor was any other tool"

    def _listed(self) -> str:
        own = self._own()
        lines = [f"\n  {call}" for call in own[:_MAX_LISTED]]
        return "".join([*lines, f"\n  and {len(own) - _MAX_LISTED} more"] if len(own) > _MAX_LISTED else lines)

    def _wanted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        given = [*map(_shorten.repr, args), *(f"{name}={_shorten.repr(it)}" for name, it in kwargs.items())]
        return f"\nexpected: ({', '.join(given)})\ncalls:{self._listed()}"


def _is_same(one: Any, other: Any) -> bool:
    """Compares two values; arrays and data frames as a whole."""
    try:
        equals = getattr(one, "equals", None)
        if callable(equals) and type(one) is type(other):
            return bool(equals(other))
        same = one == other
        return bool(same.all()) if hasattr(same, "all") else bool(same)
    except Exception:  # noqa: BLE001 - what cannot be compared is not the same
        return False
