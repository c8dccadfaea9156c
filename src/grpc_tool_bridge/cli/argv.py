"""A command whose arguments may begin with a minus, as numbers do."""

import re
from typing import Any

from typer.core import TyperCommand

_NUMBER = re.compile(r"-\.?\d")


class WordsCommand(TyperCommand):
    """Takes ``-1`` for an argument and not for an option, as if ``--`` stood before it."""

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
