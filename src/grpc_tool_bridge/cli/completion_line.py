"""A command line up to the cursor, as the completion of shells reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.plain_words import Parameter

# What a word may become, and what that means.
Candidate = tuple[str, str]


@dataclass
class Line:
    """A command line up to the cursor.

    Attributes:
        command: The command that it names.
        parameters: The options and arguments of the command.
        given: The words that are given for each option, by the parameter's name; True for a flag.
        arguments: The words that are no options.
        pending: The option whose value is at the cursor; None: none.
        is_after_dashes: Whether everything at the cursor is an argument.
    """

    command: Command
    parameters: Sequence[Parameter]
    given: dict[str, list[Any]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    pending: Parameter | None = None
    is_after_dashes: bool = False

    @property
    def positional(self) -> Parameter | None:
        """The argument at the cursor; None if the command takes no more."""
        declared = [item for item in self.parameters if not isinstance(item.declared, Option)]
        place = len(self.arguments)
        if place < len(declared):
            return declared[place]
        return declared[-1] if declared and declared[-1].many else None

    def value_of(self, name: str) -> str | None:
        """Returns the last word that is given for an option, or for the argument of this name."""
        if self.given.get(name):
            return str(self.given[name][-1])
        declared = [item.name for item in self.parameters if not isinstance(item.declared, Option)]
        place = declared.index(name) if name in declared else len(self.arguments)
        return self.arguments[place] if place < len(self.arguments) else None
