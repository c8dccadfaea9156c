"""Parses docstrings into a text for each argument, one for the result, and the description, which is the rest.

Reads the Google, numpy, reST and epytext styles, even mixed. Nothing gets lost: a section, field or directive that is
about neither an argument nor the result stays in the description as written.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARAMETERS = frozenset(
    {
        "args", "arguments", "params", "parameters", "keyword args", "keyword arguments", "kwargs",
        "other parameters", "other args", "other arguments",
    }
)  # fmt: skip
_RESULTS = frozenset({"return", "returns", "yield", "yields"})
_NAMES = r"\\?\*{0,2}(?:\\\*)?[^\W\d]\w*"
_GOOGLE_HEADER = re.compile(r"([A-Za-z][A-Za-z ]*):\s*")
_GOOGLE_ENTRY = re.compile(rf"({_NAMES}(?:\s*,\s*{_NAMES})*)\s*(?:\(.*?\))?\s*(?::(?=\s|$)|\s--?\s)\s*(.*)")
_GOOGLE_TYPE = re.compile(r"[\w.]+(?:\[.*?\])?(?: \| [\w.]+(?:\[.*?\])?)*:\s+(?=\S)")
_NUMPY_RULE = re.compile(r"[-=]{3,}\s*")
_NUMPY_ENTRY = re.compile(rf"({_NAMES}(?:\s*,\s*{_NAMES})*)\s*(?::\s*\S.*)?")
# A field of reST, ":param int a: text", or of epytext, "@param a: text".
_FIELD = re.compile(r"[:@](\w+)(?:\s+([^:]*?))?\s*:(?:\s+(.*))?")
_PARAMETER_FIELDS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword", "kwarg"})
# Annotations already say this.
_TYPE_FIELDS = frozenset({"type", "rtype"})
_FENCE = ("```", "~~~")
# Starts a line that is not prose: an item of a list, a table, a quotation, a directive, a heading, a doctest.
_NO_PROSE = re.compile(r"\s|[-*+>|#=~`:@]|\.\.|\d+[.)]\s")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A parsed docstring: the description, and a text for each argument and the result."""

    description: str
    arguments: Mapping[str, str]
    result: str


def read_docstring(text: str) -> Docstring:
    """Parses a docstring in any of the styles, or without sections."""
    reader = _Reader(inspect.cleandoc(text).splitlines())
    reader.read()
    return Docstring(_description(reader.rest), reader.arguments, "\n".join(reader.results))


class _Reader:
    """Goes through the lines once; each goes to an argument, to the result or to the rest."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self.rest: list[str] = []
        self.arguments: dict[str, str] = {}
        self.results: list[str] = []

    def read(self) -> None:
        fence = ""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if fence or line.startswith(_FENCE):
                fence = "" if fence and line.startswith(fence) else fence or line[:3]
            elif self._take_numpy(line) or self._take_google(line) or self._take_field(line):
                continue
            self.rest.append(line)
            self._at += 1

    def _line(self, at: int) -> str:
        return self._lines[at] if at < len(self._lines) else ""

    def _take_google(self, line: str) -> bool:
        header = _GOOGLE_HEADER.fullmatch(line)
        title = header[1].lower() if header else ""
        body = self._indented(self._at + 1)
        if not body or not any(body) or title not in _PARAMETERS | _RESULTS:
            return False
        text = inspect.cleandoc("\n".join(["", *body]))
        if title in _RESULTS:
            typed = _GOOGLE_TYPE.match(text.partition("\n")[0])
            self.results.append(text[typed.end() :] if typed else text)
        elif not self._take_entries(text.splitlines(), _GOOGLE_ENTRY):
            return False
        self._at += 1 + len(body)
        return True

    def _take_entries(self, lines: list[str], entry: "re.Pattern[str]") -> bool:
        """Takes the entries of a section, and any text before the first; nothing if there are none."""
        entries: list[tuple[str, list[str]]] = []
        lead: list[str] = []
        for line in lines:
            found = None if line[:1].isspace() else entry.fullmatch(line)
            if found:
                entries.append((found[1], [found[2] if entry is _GOOGLE_ENTRY else ""]))
            else:
                (entries[-1][1] if entries else lead).append(line)
        for names, text in entries:
            self._add(names, text)
        if entries:
            self.rest.extend(lead)
        return bool(entries)

    def _take_numpy(self, line: str) -> bool:
        title = line.strip().lower()
        if title not in _PARAMETERS | _RESULTS or not _NUMPY_RULE.fullmatch(self._line(self._at + 1)):
            return False
        start = self._at + 2
        end = start
        while end < len(self._lines) and not self._ends_numpy(end, plain=title in _RESULTS):
            end += 1
        body = self._lines[start:end]
        if title in _RESULTS:
            told = [item for item in body if not item or item[:1].isspace()]
            # One line that is not indented is the type; several are several results.
            is_typed = any(told) and body[0] and sum(bool(item) for item in body if item not in told) == 1
            self.results.append(inspect.cleandoc("\n".join(["", *(told if is_typed else body)])))
        elif not self._take_entries(body, _NUMPY_ENTRY):
            self.rest.extend(body)
        self._at = end
        return True

    def _ends_numpy(self, at: int, *, plain: bool) -> bool:
        """Whether a section ends before a line: another begins there, or text that is not an entry."""
        line = self._lines[at]
        if line and _NUMPY_RULE.fullmatch(self._line(at + 1)):
            return True
        if not line or line[0].isspace():
            return False
        return bool(_FIELD.fullmatch(line)) or not (plain or _NUMPY_ENTRY.fullmatch(line))

    def _take_field(self, line: str) -> bool:
        found = _FIELD.fullmatch(line)
        if not found:
            return False
        kind, about, text = found[1].lower(), found[2] or "", found[3] or ""
        body = self._indented(self._at + 1) or self._unindented(self._at + 1)
        whole = [text, *body]
        if kind in _PARAMETER_FIELDS and about:
            self._add(about.split()[-1], whole)
        elif kind in _RESULTS and not about:
            self.results.append(inspect.cleandoc("\n".join(whole)))
        elif kind not in _TYPE_FIELDS:
            return False
        self._at += 1 + len(body)
        return True

    def _indented(self, start: int) -> list[str]:
        """Finds the lines from ``start`` on that are indented, with the empty ones between them."""
        end = at = start
        while at < len(self._lines) and (not self._lines[at] or self._lines[at][0].isspace()):
            at += 1
            if self._lines[at - 1]:
                end = at
        return self._lines[start:end]

    def _unindented(self, start: int) -> list[str]:
        """Finds the lines from ``start`` on that continue a field's text although they are not indented."""
        at = start
        while self._line(at) and not _NO_PROSE.match(self._lines[at]):
            at += 1
        return self._lines[start:at]

    def _add(self, names: str, text: list[str]) -> None:
        # Several may be documented at once as "a, b".
        for part in names.split(","):
            name = part.strip().lstrip("*\\")
            told = [self.arguments.get(name, ""), inspect.cleandoc("\n".join(text))]
            self.arguments[name] = "\n".join(filter(None, told))


def _description(lines: list[str]) -> str:
    """Joins what is left; a first sentence over several lines becomes one."""
    text = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "\n".join(lines)).strip("\n").rstrip()
    first, blank, rest = text.partition("\n\n")
    parts = first.split("\n")
    if not any(_NO_PROSE.match(part) for part in parts):
        first = " ".join(parts)
    return f"{first}{blank}{rest}"
