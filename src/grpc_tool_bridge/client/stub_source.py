"""Python source in the style of black and ruff: literals, docstrings, and what does not fit on a line."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 120
INDENT = "    "
# A longer default is not worth its line.
_MAX_DEFAULT_CHARS = 60
_MAX_INTEGER_BITS = 256
# Of a section of a docstring: its further lines are indented once more.
_ENTRY = re.compile(r"\s+\*{0,2}\w+: ")


def literal(value: Any) -> str | None:
    """Writes a value that Python has a short literal for; None: it has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if type(value) is int and value.bit_length() > _MAX_INTEGER_BITS:
        return None
    if value is None or type(value) in (bool, int, float):
        return repr(value)
    if type(value) is str:
        text = quoted(value)
        return text if len(text) <= _MAX_DEFAULT_CHARS else None
    return None


def quoted(text: str) -> str:
    """Writes a text as a literal, in double quotes unless it contains some."""
    made = ascii(text) if not text.isprintable() else repr(text)
    inner = made[1:-1]
    return made if '"' in inner else '"' + inner.replace("\\'", "'") + '"'


def docstring(text: str, indent: str = "") -> list[str]:
    """Writes the lines of a docstring, with its long lines wrapped."""
    lines = [line for part in text.strip().splitlines() for line in _wrapped(part, WIDTH - len(indent))]
    lines = [_escaped(line) for line in lines] or [""]
    if lines[-1].endswith(("\\", '"')):
        lines.append("")
    if len(lines) == 1 and len(indent) + len(lines[0]) + 6 <= WIDTH:
        return [f'{indent}"""{lines[0]}"""']
    if len(lines) == 2 and not lines[1] and len(indent) + len(lines[0]) + 7 <= WIDTH:
        # Between its last quote and those that end the docstring.
        return [f'{indent}"""{lines[0]} """']
    first = f'{indent}"""{lines[0]}'
    rest = [f"{indent}{line}".rstrip() for line in lines[1:]]
    return [first.rstrip(), *rest, f'{indent}"""'] if lines[-1] else [first.rstrip(), *rest[:-1], f'{indent}"""']


def call(start: str, items: Sequence[str], end: str, indent: str = "") -> list[str]:
    """Writes ``start``, the items with commas between them, and ``end``: on one line if they fit, else a line each."""
    one = f"{indent}{start}{', '.join(items)}{end}"
    if len(one) <= WIDTH or not items:
        return [one]
    return [f"{indent}{start}", *(f"{indent}{INDENT}{item}," for item in items), f"{indent}{end}"]


def joined(blocks: Iterable[Sequence[str]], blank: int) -> list[str]:
    """Joins blocks of lines, with so many empty lines between them."""
    lines: list[str] = []
    for block in blocks:
        if lines:
            lines += [""] * blank
        lines += block
    return lines


def _wrapped(line: str, width: int) -> list[str]:
    line = line.expandtabs(4).rstrip()
    if len(_escaped(line)) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    # Leaves room for the quotes, and for what is escaped.
    return textwrap.wrap(
        line.strip(),
        max(width - 8, 40),
        initial_indent=indent,
        subsequent_indent=indent + INDENT if _ENTRY.match(line) else indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escaped(line: str) -> str:
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line.replace("\\", "\\\\"))
    return safe.replace('"""', r"\"\"\"")
