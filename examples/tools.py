"""Four tools to serve, and to imitate.

::

    grpc-tool-bridge serve --tools examples/tools.py

``search_docs`` blocks, so the bridge runs it in a thread. ``scan_tree`` streams. ``summarize`` takes and returns a
DataFrame. ``calculate`` is pure, so its result may be reused. Besides the bridge, they need the extra ``examples``,
which is pandas and simpleeval. A tool has the rights of its process: ``scan_tree`` shows its caller any folder that
this process can read.
"""

import ast
import atexit
import fnmatch
import math
import operator
import os
import re
import sqlite3
import stat
import sysconfig
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from simpleeval import FunctionNotDefined, InvalidExpression, NameNotDefined, SimpleEval

from grpc_tool_bridge import ToolContext, tool

# ------------------------------------------------------------------------------------------------------ search_docs

# Test suites, applications and installed packages are in the same folder, but are not part of the library.
_NOT_LIBRARY = frozenset({"idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"})
_MAX_HITS = 100

_SCHEMA = "CREATE VIRTUAL TABLE docs USING fts5(name, doc, kind UNINDEXED, tokenize='porter unicode61')"
# A word in the name counts more than one in the text.
_SEARCH = """
    SELECT name, kind, doc, snippet(docs, 1, '', '', '…', 24), bm25(docs, 8.0, 1.0) AS rank
    FROM docs WHERE docs MATCH ? ORDER BY rank, name LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class DocHit:
    """One result of a search.

    Attributes:
        name: Qualified name, such as "asyncio.tasks.wait_for".
        kind: What it names.
        summary: First line of its documentation.
        snippet: The part of the documentation that matches best.
        rank: bm25, lower is better; comparable within one search only.
    """

    name: str
    kind: Literal["module", "class", "function"]
    summary: str
    snippet: str
    rank: float


class DocIndex:
    """A full-text index of the documentation strings under a folder, built at the first search.

    Sources are parsed, never imported, so none of their code runs.

    Args:
        root: Folder whose modules are indexed, named as if it were on ``sys.path``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def search(self, query: str, limit: int) -> list[DocHit]:
        """Finds matching entries, best first. Thread-safe.

        Args:
            query: As for ``search_docs``.
            limit: Maximum number of entries.

        Raises:
            ValueError: The query is empty or malformed.
        """
        terms, has_operators = _query_terms(query)
        try:
            # One at a time: a search takes milliseconds, and the first one builds the index for all waiting ones.
            with self._lock:
                self._database = self._database or self._build()
                rows = self._database.execute(_SEARCH, (" ".join(terms), limit)).fetchall()
                if not rows and not has_operators:
                    rows = self._database.execute(_SEARCH, (" OR ".join(terms), limit)).fetchall()
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"cannot search for {query!r}: {error}; AND, OR and NOT in capitals go between two words, "
                "write them in lower case to search for them"
            ) from error
        return [DocHit(name, kind, doc.partition("\n")[0], snippet, rank) for name, kind, doc, snippet, rank in rows]

    def close(self) -> None:
        """Frees the index; a later search builds it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _build(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", check_same_thread=False)
        database.execute(_SCHEMA)
        for file in sorted(self._root.rglob("*.py")):
            place = file.relative_to(self._root).with_suffix("")
            if not _NOT_LIBRARY.intersection(place.parts):
                module = ".".join(part for part in place.parts if part != "__init__")
                database.executemany("INSERT INTO docs (name, doc, kind) VALUES (?, ?, ?)", _entries(file, module))
        return database


def _entries(file: Path, module: str) -> Iterator[tuple[str, str, str]]:
    """Yields name, documentation and kind of a module, and of the public classes and functions in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        # A library may contain files with errors, such as samples and templates.
        return
    pending: list[tuple[str, str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]
    pending = [(module, "module", tree)]
    while pending:
        name, kind, node = pending.pop()
        if doc := ast.get_docstring(node):
            yield name, doc, kind
        if kind == "function":
            continue
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                child_kind = "class" if isinstance(child, ast.ClassDef) else "function"
                pending.append((f"{name}.{child.name}", child_kind, child))


def _query_terms(query: str) -> tuple[list[str], bool]:
    """Converts a typed query to FTS5 terms; also returns whether it has operators.

    Words are freed from punctuation ("asyncio.wait_for", "don't", "c++") and quoted, so none of it is syntax.
    """
    parts = query.split('"')
    if len(parts) % 2 == 0:
        raise ValueError(f"cannot search for {query!r}: a quotation mark is not closed; close it, or omit it")
    terms: list[str] = []
    has_operators = False
    for number, part in enumerate(parts):
        words = re.findall(r"\w+\*?", part)
        if number % 2:
            words, phrase = [], " ".join(words).replace("*", "")
            terms += [f'"{phrase}"'] if phrase else []
        for word in words:
            is_operator = word in {"AND", "OR", "NOT"}
            has_operators |= is_operator
            terms.append(word if is_operator else f'"{word.rstrip("*")}"{"*" * word.endswith("*")}')
    if not terms:
        raise ValueError(f"cannot search for {query!r}: it has no words; give at least one")
    return terms, has_operators


_standard_library = DocIndex(Path(sysconfig.get_path("stdlib")))
atexit.register(_standard_library.close)


@tool(idempotent=True, limits={"timeout_ms": 60_000})
def search_docs(query: str, limit: int = 5) -> list[DocHit]:
    """Searches the documentation strings of Python's standard library.

    The first call builds the index, which takes some seconds. Modules written in C have no source and are not in it.

    Args:
        query: Words, "exact phrases" and prefixes* of words, with AND, OR and NOT in capitals between them. If no entry
        has all the words, entries with some of them are found.
        limit: Maximum number of entries, 1 to 100.

    Returns:
        The entries, best first.

    Raises:
        ValueError: The query is empty or malformed, or the limit out of range.
    """
    if not 1 <= limit <= _MAX_HITS:
        raise ValueError(f"limit is {limit}: give a number from 1 to {_MAX_HITS}")
    return _standard_library.search(query, limit)


# -------------------------------------------------------------------------------------------------------- scan_tree

_SKIPPED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".tox", ".nox", ".eggs", ".venv", "venv", "node_modules", "__pycache__"}
)
# Such a file marks its folder as a virtual environment or a cache.
_FOLDER_MARKS = frozenset({"pyvenv.cfg", "CACHEDIR.TAG"})
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of a tree.

    Attributes:
        path: Path below the tree's root, with "/".
        suffix: Such as ".py"; empty if the name has none.
        bytes: Size in bytes.
        lines: Number of lines; 0 if the file is not text.
        kind: "binary" if there is a zero byte, "unreadable" if the file could not be opened or read.
    """

    path: str
    suffix: str
    bytes: int
    lines: int
    kind: Literal["text", "binary", "unreadable"]


@tool(limits={"timeout_ms": 300_000})
def scan_tree(path: str, pattern: str = "*", exclude: tuple[str, ...] = (), *, ctx: ToolContext) -> Iterator[FileRow]:
    """Walks a source tree and yields a row for each file, in the order of their paths.

    Version control folders, virtual environments and caches are skipped; symbolic links are not followed.

    Args:
        path: The tree's root, a folder on the machine where the tool runs.
        pattern: Pattern of file names: "*", "*.py", "test_?.*".
        exclude: Names of further folders to skip.
        ctx: Filled in by the bridge.

    Yields:
        One row for each file.

    Raises:
        FileNotFoundError: The path does not exist.
        NotADirectoryError: The path is not a folder.
    """
    root = Path(path)
    if not path or not root.exists():
        raise FileNotFoundError(f"{path!r} does not exist: give a folder on the machine where this tool runs")
    if not root.is_dir():
        raise NotADirectoryError(f"{path!r} is not a folder: give its parent folder, and its name as the pattern")
    # Walking first costs one stat per file, and gives the total; each file is read once, below.
    found = sorted(_find_files(root, pattern, _SKIPPED_FOLDERS.union(exclude), ctx))
    for number, (name, size) in enumerate(found, start=1):
        lines, kind = _count_lines(root / name, ctx)
        if ctx.cancelled:
            return
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        ctx.progress(number, len(found), shown)
        yield FileRow(shown, Path(shown).suffix, size, lines, kind)


def _find_files(root: Path, pattern: str, skipped: frozenset[str], ctx: ToolContext) -> Iterator[tuple[str, int]]:
    """Yields the path below the root and the size in bytes of each matching regular file, without opening it."""

    def tell(error: OSError) -> None:
        ctx.log(f"skipped a folder that cannot be read: {error}", level="warning")

    for folder, folders, files in os.walk(root, onerror=tell):
        if ctx.cancelled:
            return
        here = Path(folder)
        if here != root and not _FOLDER_MARKS.isdisjoint(files):
            folders.clear()
            continue
        folders[:] = [name for name in folders if name not in skipped]
        for name in fnmatch.filter(files, pattern):
            file = here / name
            try:
                status = file.lstat()
            except OSError as error:
                ctx.log(f"skipped a file that is gone: {error}", level="warning")
                continue
            if stat.S_ISREG(status.st_mode):
                yield file.relative_to(root).as_posix(), status.st_size


def _count_lines(file: Path, ctx: ToolContext) -> tuple[int, Literal["text", "binary", "unreadable"]]:
    """Counts the lines of a text, including a last one without a newline."""
    lines, last = 0, b"\n"
    try:
        with file.open("rb") as stream:
            while (block := stream.read(_READ_BYTES)) and not ctx.cancelled:
                if b"\0" in block:
                    return 0, "binary"
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError:
        return 0, "unreadable"
    return lines + (last != b"\n"), "text"


# -------------------------------------------------------------------------------------------------------- summarize

_SUMMED = ("bytes", "lines")
_SUMMARY_COLUMNS = ("files", *_SUMMED, "largest", "share")


@tool(idempotent=True)
def summarize(rows: pd.DataFrame, by: str = "suffix") -> pd.DataFrame:
    """Summarizes a table of files by one of its columns, the group with the most bytes first.

    Args:
        rows: One row for each file, with the columns path, bytes, lines and ``by``, as ``scan_tree`` yields them.
        by: Column to group by.

    Returns:
        One row for each group: ``by``, files (their number), bytes, lines, largest (path of the largest file) and
        share (of all bytes, 0 to 1).

    Raises:
        ValueError: A column is missing, does not hold numbers, or cannot be grouped by.
    """
    missing = [column for column in ("path", *_SUMMED, by) if column not in rows.columns]
    if missing:
        there = ", ".join(map(str, rows.columns)) or "none"
        raise ValueError(f"rows has no column {', '.join(map(repr, missing))}; the columns are: {there}")
    if by in _SUMMARY_COLUMNS:
        raise ValueError(f"cannot group by {by!r}: the summary has a column of that name; rename it, or use another")
    try:
        table = rows.assign(**{column: pd.to_numeric(rows[column]) for column in _SUMMED})
    except (TypeError, ValueError) as error:
        raise ValueError(f"the columns bytes and lines must hold numbers: {error}") from error
    groups = table.sort_values("bytes", ascending=False, kind="stable").groupby(by, as_index=False, dropna=False)
    summary = groups.agg(
        files=("path", "size"), bytes=("bytes", "sum"), lines=("lines", "sum"), largest=("path", "first")
    )
    summary["share"] = summary["bytes"] / max(summary["bytes"].sum(), 1)
    return summary.sort_values("bytes", ascending=False, kind="stable", ignore_index=True)


# -------------------------------------------------------------------------------------------------------- calculate

_MAX_EXPRESSION = 1_000
# Characters of an expression that an error shows.
_SHOWN = 80
# Bits of an integer; 1,233 decimal digits. Bounds the time and the memory that an expression can take.
_MAX_BITS = 4_096
_MAX_FACTORIAL = 500
_MAX_PLACES = 300

_NUMBERS = {"e": math.e, "pi": math.pi, "tau": math.tau}


def _power(base: float, exponent: float) -> float:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent * math.log2(abs(base)) > _MAX_BITS:
        raise OverflowError("a power")
    result: float = base**exponent
    return result


def _factorial(number: int) -> int:
    if number > _MAX_FACTORIAL:
        raise OverflowError(f"factorial accepts numbers up to {_MAX_FACTORIAL}")
    return math.factorial(number)


def _round(number: float, places: int = 0) -> float:
    if abs(places) > _MAX_PLACES:
        raise OverflowError(f"round accepts up to {_MAX_PLACES} places")
    return round(number, places) if places else round(number)


_OPERATORS: dict[type[ast.operator | ast.unaryop], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FROM_MATH = "acos asin atan atan2 ceil cos degrees exp floor gcd hypot log log10 log2 radians sin sqrt tan"
_FUNCTIONS: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in _FROM_MATH.split()},
    "abs": abs,
    "factorial": _factorial,
    "max": max,
    "min": min,
    "round": _round,
}


@tool(idempotent=True, limits={"timeout_ms": 5_000})
def calculate(expression: str) -> int | float:
    """Evaluates an arithmetic expression, such as "2 * (3 + 4) ** 2" or "sqrt(2) * sin(pi / 4)".

    Args:
        expression: Numbers, + - * / // % ** and parentheses; e, pi, tau; abs, ceil, floor, round, min, max, sqrt, exp,
            log (log(x) or log(x, base)), log2, log10, sin, cos, tan, asin, acos, atan, atan2, hypot, degrees, radians,
            gcd, factorial. At most 1,000 characters.

    Returns:
        The result; integers stay integers.

    Raises:
        ValueError: The expression is malformed, divides by zero, grows too large, or has no real result.
    """
    if len(expression) > _MAX_EXPRESSION:
        raise ValueError(f"the expression has {len(expression):,} characters, the limit is {_MAX_EXPRESSION:,}")
    evaluator = SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS, names=_NUMBERS)
    # The library also supports strings, attributes and assignments. They are not arithmetic, and a string could grow
    # without limit.
    kept = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name)
    evaluator.nodes = {kind: evaluator.nodes[kind] for kind in kept} | {ast.Constant: _constant}
    try:
        return _real(evaluator.eval(expression, ast.parse(expression.strip(), mode="eval").body))
    except (
        ArithmeticError,
        InvalidExpression,
        MemoryError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        shown = expression if len(expression) <= _SHOWN else f"{expression[:_SHOWN]}…"
        raise ValueError(f"cannot calculate {shown!r}: {_reason(error)}") from error


def _constant(node: ast.Constant) -> int | float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise TypeError(f"{node.value!r} is not a number")
    return node.value


def _real(result: object) -> int | float:
    if not isinstance(result, int | float):
        raise TypeError("the result is not a real number")
    if result.bit_length() > _MAX_BITS if isinstance(result, int) else not math.isfinite(result):
        raise OverflowError("the result")
    return result


def _reason(error: Exception) -> str:
    match error:
        case ZeroDivisionError():
            return "it divides by zero"
        case OverflowError():
            return f"a number grows too large ({error})"
        case RecursionError() | MemoryError():
            return "it is nested too deep; split it"
        case SyntaxError():
            return error.msg
        case NameNotDefined():
            return f"there is no name {error.name!r}; there are {', '.join(_NUMBERS)}"
        case FunctionNotDefined():
            return f"there is no function {error.func_name!r}; there are {', '.join(_FUNCTIONS)}"
        case InvalidExpression():
            return "only numbers, names, functions, parentheses and + - * / // % ** are allowed"
        case _:
            return str(error)
