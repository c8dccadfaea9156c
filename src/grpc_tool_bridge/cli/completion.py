"""What the word at the cursor of a command line may become, for the completion of shells.

A script of ``completion_scripts`` starts the program with the words before the cursor, and reads the candidates from
its stdout. It must be quick, and silent whatever happens.
"""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.commands import COMMANDS, GROUPS, with_default
from grpc_tool_bridge.cli.completion_line import Candidate, Line
from grpc_tool_bridge.cli.failures import one_line
from grpc_tool_bridge.cli.plain_words import NUMBER, Parameter, flags_of, parameters_of

# The characters at which bash breaks a word; the part before the last of them stays as it is.
BREAKS_VARIABLE = "_GRPC_TOOL_BRIDGE_BREAKS"

# Names come from the hub. A shell would read others than these as something else than a word.
_PLAIN = re.compile(r"[\w@%+=:,./*-]+")
_HELP_CHARS = 60
_GLOBAL = (("--help", "Show what the program does."), ("--version", "Print the version and exit."))
_HELP = ("--help", "Show what the command does.")


def answer(shell: str, words: Sequence[str]) -> int:
    """Prints the candidates for a shell; returns 0, whatever happens.

    The first line says whether file names are completed too: ``files`` or ``words``. Each further line is a candidate,
    a tab, and what it means.

    Args:
        shell: ``bash``, which gives its line as one word, ``zsh`` or ``fish``.
        words: The words before the cursor without the program's name; the last one is not complete.
    """
    # A message would stand in the middle of what is typed.
    with contextlib.suppress(Exception):
        line = split_line(words[0])[1:] if shell == "bash" and words else list(words)
        incomplete = line[-1] if line else ""
        files, found = candidates(line or [""])
        kept = "" if shell != "bash" else _kept_by_bash(incomplete, os.environ.get(BREAKS_VARIABLE, ""))
        lines = ["files" if files else "words"]
        lines += [f"{value.removeprefix(kept)}\t{_short(text)}" for value, text in found if _PLAIN.fullmatch(value)]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    return 0


def split_line(line: str) -> list[str]:
    """Splits a command line as a shell does; the last word may be in quotes that are still open."""
    for end in ("", "'", '"'):
        try:
            words = shlex.split(line + end)
        except ValueError:
            continue
        return words if words and not line[-1:].isspace() else [*words, ""]
    return line.split(" ")


def candidates(words: Sequence[str]) -> tuple[bool, list[Candidate]]:
    """Finds what the last of some words may become.

    Returns:
        Whether it may also be the name of a file; and what it may be, with what that means.
    """
    *before, incomplete = words
    if len(before) > 1 or incomplete.startswith("-"):
        before = list(with_default(before))
    commands: Mapping[str, Any] = COMMANDS
    while before and before[0] in commands:
        found = commands[before.pop(0)]
        found = found() if commands is COMMANDS else found
        if isinstance(found, Command):
            return _of_command(_read(found, before), incomplete)
        commands = found
    if before:
        return False, []
    options = [_HELP] if commands is not COMMANDS else _GLOBAL
    named = [(name, _about(name, commands)) for name in commands]
    return False, _begun(incomplete, options if incomplete.startswith("-") else named)


def _about(name: str, commands: Mapping[str, Any]) -> str:
    if name in GROUPS:
        return GROUPS[name]
    command = commands[name]() if commands is COMMANDS else commands[name]
    return str(command.help)


def _read(command: Command, words: Iterable[str]) -> Line:
    line = Line(command, parameters_of(command))
    flags = flags_of(line.parameters)
    left = iter(words)
    for word in left:
        if word == "--":
            line.is_after_dashes = True
            line.arguments += left
        elif not word.startswith("-") or word == "-" or NUMBER.match(word):
            line.arguments.append(word)
        else:
            _take_option(line, word, flags, left)
    return line


def _take_option(line: Line, word: str, flags: Mapping[str, tuple[Parameter, bool]], left: Any) -> None:
    name, equals, value = word.partition("=")
    if name not in flags:
        return
    parameter, is_set = flags[name]
    given = line.given.setdefault(parameter.name, [])
    if parameter.kind is bool:
        given.append(is_set)
        return
    following = value if equals else next(left, None)
    if following is None:
        line.pending = parameter
    else:
        given.append(following)


def _of_command(line: Line, incomplete: str) -> tuple[bool, list[Candidate]]:
    if line.pending is not None:
        return _values(line, line.pending, incomplete)
    if incomplete.startswith("--") and "=" in incomplete and not line.is_after_dashes:
        name, _, value = incomplete.partition("=")
        parameter = next((item for flag, (item, _) in flags_of(line.parameters).items() if flag == name), None)
        if parameter is None or parameter.kind is bool:
            return False, []
        files, found = _values(line, parameter, value)
        return files, [(f"{name}={each}", text) for each, text in found]
    parameter = line.positional
    is_option = incomplete.startswith("-") and not line.is_after_dashes
    if is_option or (parameter is None and not line.is_after_dashes):
        return False, _begun(incomplete, _options(line))
    return (False, []) if parameter is None else _values(line, parameter, incomplete)


def _options(line: Line) -> list[Candidate]:
    """Lists the options that can still be given."""
    found = [
        (flag, item.declared.help)
        for flag, (item, _) in flags_of(line.parameters).items()
        if flag.startswith("--") and (item.many or not line.given.get(item.name))
    ]
    return [*found, _HELP]


def _values(line: Line, parameter: Parameter, incomplete: str) -> tuple[bool, list[Candidate]]:
    """Finds the values of an option or an argument that begin as the word does."""
    declared = parameter.declared
    if issubclass(parameter.kind, Path) or declared.complete == "file":
        return True, []
    if issubclass(parameter.kind, Enum):
        return False, _begun(incomplete, [(str(item.value), "") for item in parameter.kind])
    if declared.choices:
        return False, _begun(incomplete, [(choice, "") for choice in declared.choices])
    if not declared.complete:
        return False, []
    from grpc_tool_bridge.cli.completion_values import values_of

    return False, _begun(incomplete, values_of(declared.complete, line, incomplete))


def _begun(incomplete: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [(value, text) for value, text in found if value.startswith(incomplete)]


def _short(text: str) -> str:
    first = one_line(text.strip().partition("\n")[0])
    return first if len(first) <= _HELP_CHARS else f"{first[: _HELP_CHARS - 1]}…"


def _kept_by_bash(word: str, breaks: str) -> str:
    """Returns the part of a word that bash does not replace."""
    end = max((word.rfind(each) for each in breaks if not each.isspace() and each not in "\"'"), default=-1)
    return word[: end + 1]
