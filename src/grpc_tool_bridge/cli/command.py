"""A command: a function whose parameters are options and arguments, and whose exceptions are one line."""

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, say_warning
from grpc_tool_bridge.cli.options import HubOptions, OptionGroup
from grpc_tool_bridge.cli.streams import PipeClosedError, require_stdout

# A line break inside a paragraph.
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")

# File names may hold any bytes.
_FILE_ARGUMENTS = frozenset({"sources", "tools"})


class Command:
    """A function as a command.

    Its parameters become the command's. A parameter of a subclass of ``OptionGroup`` stands for all options of that
    group.

    Args:
        function: The function; may return an exit code.
        takes_inputs: Whether ``--NAME VALUE`` stands for ``--input NAME=VALUE``, if there is no such option.
        unless: A flag with which the options of groups are not used, and so not checked; empty: there is none.
        defaults: Replace defaults of options of a group for this command.

    Attributes:
        help: What it does.
        parameters: All its options and arguments, in the order of the help.
        takes_inputs: As given.
    """

    def __init__(
        self, function: Callable[..., int | None], *, takes_inputs: bool = False, unless: str = "", **defaults: Any
    ) -> None:
        given = inspect.signature(function).parameters.values()
        self._groups = {item.name: item.annotation for item in given if _is_group(item.annotation)}
        self._function = function
        self._unless = unless
        self.takes_inputs = takes_inputs
        # What one line break separates is one paragraph, as wide as the terminal.
        self.help = _LINE_BREAK.sub(" ", inspect.getdoc(function) or "")
        self.parameters = [
            item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in given if item.name not in self._groups
        ]
        for group in self._groups.values():
            self.parameters += [
                inspect.Parameter(
                    item.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=defaults.get(item.name, item.default),
                    annotation=item.type,
                )
                for item in _fields(group)
            ]

    def run(self, values: Mapping[str, Any]) -> int:
        """Runs it with the values of all parameters by name; returns its exit code."""
        _check_text(values)
        rest = dict(values)
        for key, group in self._groups.items():
            options = group(**{item.name: rest.pop(item.name) for item in fields(group)})
            if not values.get(self._unless):
                options.check()
            rest[key] = options
        try:
            return self._function(**rest) or 0
        except KeyboardInterrupt:
            # Click would exit silently.
            raise CommandError("interrupted", code=INTERRUPTED, error_type="Cancelled") from None


def client_command(
    function: Callable[..., Coroutine[Any, Any, None]],
    *,
    check: Callable[..., None] | None = None,
    takes_inputs: bool = False,
    unless: str = "",
) -> Command:
    """Makes a command of an async function whose first parameter is ``HubOptions``.

    Args:
        function: The function.
        check: Called with its other arguments by name, before anything is imported that connects to a hub; raises
            ArgumentError.
        takes_inputs: As for ``Command``.
        unless: Likewise.
    """

    @functools.wraps(function)
    def run(hub: HubOptions, **given: Any) -> None:
        require_stdout()
        if check is not None:
            check(**given)
        import asyncio

        from grpc_tool_bridge.cli import connection, interrupts

        # Imported before the work begins: Ctrl-C meanwhile needs no message.
        del connection
        interrupts.loaded()
        try:
            with _long_integers():
                asyncio.run(function(hub, **given))
            # Not earlier: if a command fails, stderr has only the line that says why.
            for text in hub.warnings:
                say_warning(text)
        except BrokenPipeError:
            raise PipeClosedError from None

    return Command(run, takes_inputs=takes_inputs, unless=unless)


def _fields(group: type[Any]) -> list[Field[Any]]:
    """Lists the options of a group in the order of the help: its own before inherited ones."""
    return sorted(fields(group), key=lambda item: item.name not in group.__annotations__)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, OptionGroup)


def _check_text(given: Mapping[str, Any]) -> None:
    from grpc_tool_bridge.values.text import is_text

    for name, value in given.items():
        for word in value if isinstance(value, list) else (value,):
            if name not in _FILE_ARGUMENTS and isinstance(word, str) and not is_text(word):
                raise ArgumentError(f"the argument {word[:60]} is not valid UTF-8")


@contextlib.contextmanager
def _long_integers() -> Iterator[None]:
    """Lets Python write every integer that the bridge carries, so that every result can be printed."""
    from grpc_tool_bridge.values.jsontext import MAX_DIGITS

    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
