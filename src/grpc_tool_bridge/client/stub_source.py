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
# Goes on with the paragraph: no further indented line, entry, or item of a list.
_PROSE = re.compile(r"(?!\*{0,2}\w+: |[-*+>|#=~`:@] |\d+[.)] )\S")


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
    """Writes a text as a literal, in double quotes unless that takes more escapes than single ones."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    inner = "".join(f"\\{letter}" if letter in (quote, "\\") else _printable(letter) for letter in text)
    return f"{quote}{inner}{quote}"


def docstring(text: str, indent: str = "") -> list[str]:
    """Writes the lines of a docstring, with its long lines wrapped."""
    lines = [_escaped(line) for line in _wrapped(text.strip().splitlines(), WIDTH - len(indent) - 3)] or [""]
    if len(lines) == 1 and not lines[0].endswith("\\"):
        # Not four quotes in a row.
        end = ' """' if lines[0].endswith('"') else '"""'
        one = f'{indent}"""{lines[0]}{end}'
        if len(one) <= WIDTH:
            return [one]
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}".rstrip() for line in lines[1:]), f'{indent}"""']


def call(start: str, items: Sequence[str], end: str, indent: str = "", width: int = WIDTH) -> list[str]:
    """Writes ``start``, the items with commas between them, and ``end``: on one line if they fit, else a line each.

    An item of several lines is on lines of its own.
    """
    one = f"{indent}{start}{', '.join(items)}{end}"
    if (len(one) <= width and "\n" not in one) or not items:
        return [one]
    return [f"{indent}{line}" for line in exploded(start, items, end)]


def exploded(start: str, items: Iterable[str], end: str) -> list[str]:
    """Writes the items on a line each, with a comma after the last one too; an item may be of several lines."""
    return [start, *(f"{INDENT}{line}" for item in items for line in f"{item},".split("\n")), end]


def joined(blocks: Iterable[Sequence[str]], blank: int) -> list[str]:
    """Joins blocks of lines, with so many empty lines between them."""
    lines: list[str] = []
    for block in blocks:
        if lines:
            lines += [""] * blank
        lines += block
    return lines


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    """Wraps lines that are too long, together with the rest of their paragraph."""
    left = [line.expandtabs(len(INDENT)).rstrip() for line in reversed(lines)]
    made: list[str] = []
    while left:
        line = left.pop()
        if len(_escaped(line)) <= width:
            made.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        further = indent + INDENT if _ENTRY.match(line) else indent
        words = [line.strip()]
        while left and left[-1].startswith(further) and _PROSE.match(left[-1][len(further) :]):
            words.append(left.pop().strip())
        grown = len(_escaped(line)) - len(line)
        made += textwrap.wrap(
            " ".join(words),
            max(width - grown, width // 2),
            initial_indent=indent,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return made


def _escaped(line: str) -> str:
    safe = "".join(map(_printable, line.replace("\\", "\\\\")))
    return safe.replace('"""', r"\"\"\"")


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else ascii(letter)[1:-1]
