"""Reads the words after a command without typer, which takes longer to import than most commands take to run."""

import inspect
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.parameters import Argument, Option

NUMBER = re.compile(r"-\.?\d")
_PLAIN_INTEGER = re.compile(r"-?\d{1,15}")
_PLAIN_FLOAT = re.compile(r"-?\d{1,15}(\.\d{1,15})?")


class NotPlainError(Exception):
    """The command line is for typer to read."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command.

    Attributes:
        name: Of the function's parameter.
        kind: The type of one value.
        declared: The option or the argument.
        default: Its value if it is not given; ``inspect.Parameter.empty`` if it must be.
        many: Whether it takes any number of values.
    """

    name: str
    kind: type
    declared: Option | Argument
    default: Any
    many: bool


def values_of(command: Command, words: Iterable[str]) -> dict[str, Any] | None:
    """Reads the words after a command; returns the values of its parameters by name, None: they are for typer."""
    try:
        return _values(command, words)
    except NotPlainError:
        return None


def _values(command: Command, words: Iterable[str]) -> dict[str, Any]:
    parameters = parameters_of(command)
    given, arguments = _split(flags_of(parameters), iter(words))
    left = iter(arguments)
    values: dict[str, Any] = {}
    for parameter in parameters:
        if isinstance(parameter.declared, Option):
            values[parameter.name] = option_value(parameter, parameter.declared, given.get(parameter.name))
        else:
            values[parameter.name] = _argument(parameter, left)
    if next(left, None) is not None:
        raise NotPlainError
    return values


def _split(flags: Mapping[str, tuple[Parameter, bool]], words: Iterator[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Returns the words that are given for each option, and those that are no options."""
    given: dict[str, list[Any]] = {}
    arguments: list[str] = []
    for word in words:
        if word == "--":
            arguments += words
        elif not word.startswith("-") or word == "-" or NUMBER.match(word):
            arguments.append(word)
        else:
            name, equals, value = word.partition("=")
            if name not in flags:
                raise NotPlainError
            parameter, is_set = flags[name]
            if parameter.kind is bool:
                if equals:
                    raise NotPlainError
                given[parameter.name] = [is_set]
                continue
            if not equals:
                following = next(words, None)
                if following is None:
                    raise NotPlainError
                value = following
            given.setdefault(parameter.name, []).append(value)
    return given, arguments


def flags_of(parameters: Iterable[Parameter]) -> dict[str, tuple[Parameter, bool]]:
    """Returns the option of each flag, and whether the flag sets it."""
    flags = {}
    for parameter in parameters:
        if isinstance(parameter.declared, Option):
            names = (parameter.declared.flags or f"--{parameter.name.replace('_', '-')}").split("/")
            for number, name in enumerate(names):
                flags.update(dict.fromkeys(name.split(", "), (parameter, number == 0)))
    return flags


def parameters_of(command: Command) -> list[Parameter]:
    """Lists the options and arguments of a command."""
    return [_parameter(item) for item in command.parameters]


def _parameter(item: inspect.Parameter) -> Parameter:
    kind, declared = get_args(item.annotation)
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not types.NoneType)
    many = get_origin(kind) is list
    return Parameter(item.name, get_args(kind)[0] if many else kind, declared, item.default, many)


def option_value(parameter: Parameter, option: Option, words: list[Any] | None) -> Any:
    """Returns the value of an option that is given these words; None: not given.

    Raises:
        NotPlainError: They are for typer to read.
    """
    if words is None:
        word = os.environ.get(option.envvar) if option.envvar else None
        if not word:
            return _default(parameter)
        if parameter.kind is bool or parameter.many:
            raise NotPlainError
        words = [word]
    values = [word if parameter.kind is bool else _value(parameter.kind, word) for word in words]
    for value in values:
        if (option.min is not None and not value >= option.min) or (option.max is not None and not value <= option.max):
            raise NotPlainError
    return values if parameter.many else values[-1]


def _argument(parameter: Parameter, words: Iterator[str]) -> Any:
    if parameter.many:
        return [_value(parameter.kind, word) for word in words] or _default(parameter)
    word = next(words, None)
    return _default(parameter) if word is None else _value(parameter.kind, word)


def _default(parameter: Parameter) -> Any:
    if parameter.default is inspect.Parameter.empty:
        raise NotPlainError
    return parameter.default


def _value(kind: type, word: str) -> Any:
    if kind is str:
        return word
    if kind is Path and word:
        return Path(word)
    if kind is int and _PLAIN_INTEGER.fullmatch(word):
        return int(word)
    if kind is float and _PLAIN_FLOAT.fullmatch(word):
        return float(word)
    if issubclass(kind, Enum) and word in [item.value for item in kind]:
        return kind(word)
    raise NotPlainError
