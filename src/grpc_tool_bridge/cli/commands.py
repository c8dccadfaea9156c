"""Turns functions into commands: their parameters become options, and their exceptions one line."""

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

import typer
from typer.core import TyperCommand

from grpc_tool_bridge.cli.exit_codes import INTERRUPTED
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, say_warning
from grpc_tool_bridge.cli.options import HubOptions, OptionGroup
from grpc_tool_bridge.cli.streams import PipeClosedError, require_stdout

# File names may hold any bytes.
_FILE_ARGUMENTS = frozenset({"sources", "tools"})

_NUMBER = re.compile(r"-\.?\d")


class WordsCommand(TyperCommand):
    """Parses ``-1`` as an argument and not as an option, as if after ``--``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the options before the arguments, and ``--`` between them."""
        options: list[str] = []
        words: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                words += rest
            elif not arg.startswith("-") or arg == "-" or _NUMBER.match(arg):
                words.append(arg)
            else:
                options.append(arg)
                if self._takes_value(arg):
                    options += [value for value in (next(rest, None),) if value is not None]
        return super().parse_args(ctx, [*options, *(["--", *words] if words else [])])

    def _takes_value(self, option: str) -> bool:
        return any(option in item.opts and not getattr(item, "is_flag", True) for item in self.params)


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., None],
    *,
    cls: type[WordsCommand] = WordsCommand,
    **defaults: Any,
) -> typer.Typer:
    """Registers a function as a command of ``app``, and returns ``app``; ``cls`` parses its arguments.

    Its parameters become the command's. A parameter of a subclass of ``OptionGroup`` stands for all options of that
    group. ``defaults`` override defaults of options of a group for this command.
    """
    given = inspect.signature(function).parameters.values()
    groups = {item.name: item.annotation for item in given if _is_group(item.annotation)}
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in given if item.name not in groups]
    for group in groups.values():
        parameters += [
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(item.name, item.default),
                annotation=item.type,
            )
            for item in _fields(group)
        ]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        _check_text(values)
        for key, group in groups.items():
            options = group(**{item.name: values.pop(item.name) for item in fields(group)})
            options.check()
            values[key] = options
        try:
            function(**values)
        except KeyboardInterrupt:
            # Click would exit silently.
            raise CommandError("interrupted", code=INTERRUPTED, error_type="Cancelled") from None

    command.__dict__["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    app.command(name, cls=cls)(command)
    return app


def add_client_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., Coroutine[Any, Any, None]],
    *,
    cls: type[WordsCommand] = WordsCommand,
) -> typer.Typer:
    """Registers an async function whose first parameter is ``HubOptions``; see ``add_command``."""

    @functools.wraps(function)
    def run(hub: HubOptions, **given: Any) -> None:
        import asyncio

        require_stdout()
        try:
            with _long_integers():
                asyncio.run(function(hub, **given))
            # Not earlier: if a command fails, stderr has only the line that says why.
            for text in hub.warnings:
                say_warning(text)
        except BrokenPipeError:
            raise PipeClosedError from None

    return add_command(app, name, run, cls=cls)


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
