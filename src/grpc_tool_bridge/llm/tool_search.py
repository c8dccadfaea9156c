"""Finds tools by what they do: full text over their names, descriptions and arguments, by SQLite's FTS5."""

import functools
import heapq
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.config.argument_checks import check_count, refuse_type
from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.llm.search_words import plain_name, query_words, texts_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

DEFAULT_LIMIT = 8
MAX_LIMIT = 100

# A name says most about a tool, then its description.
_WEIGHTS = "bm25(10.0, 4.0, 1.0)"
# Ranking takes about a microsecond for each tool and word, so only so many tools are ranked: those with the rarest
# words of the query, which decide the order anyway.
_MAX_RANKED = 1_000
_MAX_COMPARISONS = 4_000
# A word that no tool has may be the beginning of one, from so many characters on.
_MIN_BEGINNING = 3

# Whether a tool may be among the results.
Allows = Callable[[ToolSpec], object]


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool that a search has found.

    Attributes:
        name: Its name.
        description: Its description.
        score: How well it matches; more is better. Only scores of one search can be compared.
        spec: Its spec.
    """

    name: str
    description: str
    score: float
    spec: ToolSpec


class ToolIndex:
    """An index of tools, in memory. It is not thread-safe: use it from one thread at a time.

    Its memory is bounded by the number of tools: of each, some thousand characters are indexed at most.

    Raises:
        UnimplementedError: This Python has no SQLite, or one without FTS5.
    """

    def __init__(self) -> None:
        self._gate = _Gate()
        self._database = _opened(self._gate)
        # Python warns of a connection that is not closed.
        weakref.finalize(self, self._database.close)
        self._specs: dict[str, ToolSpec] = {}
        self._rows: dict[str, int] = {}
        self._names: dict[int, str] = {}
        # Names by their plain form.
        self._alike: dict[str, set[str]] = {}
        self._last_row = 0

    def __len__(self) -> int:
        return len(self._specs)

    def get(self, name: str) -> ToolSpec | None:
        """Returns the spec of a tool as it is indexed; None if the index does not have it."""
        return self._specs.get(name)

    def names(self) -> list[str]:
        """Returns the names of all tools."""
        return list(self._specs)

    def change(self, changes: Mapping[str, ToolSpec | None]) -> None:
        """Adds, replaces and removes tools; many at once is faster than one at a time.

        Args:
            changes: The new spec of each tool by name; None: the tool is removed, if it is there.
        """
        execute = self._database.execute
        execute("BEGIN")
        try:
            for name, spec in changes.items():
                self._drop(name)
                if spec is not None:
                    self._add(name, spec)
        finally:
            # Each change is whole in itself.
            execute("COMMIT")

    def search(
        self, query: str, *, limit: int = DEFAULT_LIMIT, prefix: str = "", allows: Allows | None = None
    ) -> list[FoundTool]:
        """Finds the tools that match a query best.

        The query is plain words, and has no syntax: every word counts, the rare ones most, and none has to match. A
        tool whose name is the query comes first. Equal matches are ordered by name. A query without any word, such as
        "" and "*", lists the tools by name.

        Args:
            query: What the tool should do, such as "weather in a city". Of a long text, the first words count.
            limit: Maximum number of results, 1 to 100.
            prefix: Only tools whose names begin with it.
            allows: Only tools for whose spec it returns something true.

        Raises:
            ValidationError: An argument is not valid.
        """
        check_search(query, limit, prefix)
        chooser = _Chooser(self._names, self._specs, prefix, allows)
        words = query_words(query)
        if not words:
            return [self._found(name, 0.0) for name in self._first(chooser, limit)]
        exact = self._exact(query, chooser)
        scores = self._scores(words, chooser, limit + len(exact))
        best = max(scores.values(), default=0.0)
        ranked = sorted(scores.keys() - set(exact), key=lambda name: (-scores[name], name))
        found = [self._found(name, best + 1.0) for name in exact] + [self._found(name, scores[name]) for name in ranked]
        return found[:limit]

    def _add(self, name: str, spec: ToolSpec) -> None:
        self._last_row += 1
        row = self._last_row
        texts = texts_of(spec)
        self._database.execute(
            "INSERT INTO tools(rowid, name, description, arguments) VALUES (?, ?, ?, ?)", (row, *texts)
        )
        self._specs[name], self._rows[name], self._names[row] = spec, row, name
        self._alike.setdefault(plain_name(name), set()).add(name)

    def _drop(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is None:
            return
        self._database.execute("DELETE FROM tools WHERE rowid = ?", (row,))
        del self._specs[name], self._names[row]
        alike = self._alike[plain_name(name)]
        alike.discard(name)
        if not alike:
            del self._alike[plain_name(name)]

    def _found(self, name: str, score: float) -> FoundTool:
        spec = self._specs[name]
        return FoundTool(name, spec.description, score, spec)

    def _first(self, chooser: "_Chooser", limit: int) -> list[str]:
        return heapq.nsmallest(limit, (name for name, row in self._rows.items() if chooser.has(row)))

    def _exact(self, query: str, chooser: "_Chooser") -> list[str]:
        """Returns the tools whose name is the query: as it is, or without case and separators."""
        meant = query.strip()
        alike = self._alike.get(plain_name(meant), ())
        allowed = [name for name in alike if chooser.has(self._rows[name])]
        return sorted(allowed, key=lambda name: (name != meant, name))

    def _scores(self, words: list[str], chooser: "_Chooser", limit: int) -> dict[str, float]:
        """Returns the scores of the tools that match best, by name."""
        counts = dict(self._count(word) for word in words)
        terms = sorted((term for term, count in counts.items() if count), key=counts.__getitem__)
        scores: dict[str, float] = {}
        most_ranked = min(_MAX_RANKED, _MAX_COMPARISONS // max(1, len(terms)))
        for expression in _expressions(terms, counts, most_ranked):
            # What a later expression finds matches less well, whatever its own score is.
            most = min(scores.values(), default=math.inf)
            for name, score in self._ranked(expression, chooser, most_ranked, limit):
                scores.setdefault(name, min(score, most))
            if len(scores) >= limit:
                break
        return scores

    def _count(self, word: str) -> tuple[str, int]:
        """Returns the term of a word for FTS5, and how many tools have it; of too many to rank, it counts no more."""
        count = f"SELECT count(*) FROM (SELECT 1 FROM tools WHERE tools MATCH ? LIMIT {_MAX_RANKED + 1})"  # noqa: S608 - constant
        # Quoted, it is a plain word for FTS5, whatever it is.
        term = f'"{word}"'
        (found,) = self._database.execute(count, (term,)).fetchone()
        if not found and len(word) >= _MIN_BEGINNING:
            term = f'"{word}" *'
            (found,) = self._database.execute(count, (term,)).fetchone()
        return term, found

    def _ranked(self, expression: str, chooser: "_Chooser", most_ranked: int, limit: int) -> list[tuple[str, float]]:
        """Returns the best of the first tools that match and are allowed, and their scores."""
        allowed = "" if chooser.has_all else "AND allowed(+rowid)"
        statement = f"SELECT rowid, rank FROM tools WHERE tools MATCH ? {allowed} LIMIT ?"  # noqa: S608 - constants
        query = functools.partial(self._database.execute, statement, (expression, most_ranked))
        rows = chooser.asked(self._gate, query)
        # FTS5 ranks the best lowest.
        best = heapq.nsmallest(limit, ((rank, self._names[row]) for row, rank in rows))
        return [(name, -rank) for rank, name in best]


class _Chooser:
    """Decides which tools may be among the results of one search."""

    def __init__(
        self, names: Mapping[int, str], specs: Mapping[str, ToolSpec], prefix: str, allows: Allows | None
    ) -> None:
        self.has_all = not prefix and allows is None
        self._names = names
        self._specs = specs
        self._prefix = prefix
        self._allows = allows

    def has(self, row: int) -> bool:
        """Returns whether the tool of this row may be a result."""
        name = self._names[row]
        return name.startswith(self._prefix) and (self._allows is None or bool(self._allows(self._specs[name])))

    def asked(self, gate: "_Gate", query: Callable[[], Iterable[Any]]) -> list[Any]:
        """Reads the rows of a query that asks this chooser."""
        gate.has, gate.error = self.has, None
        try:
            return list(query())
        except Exception:
            if gate.error is None:
                raise
            # The error of the chooser's own function.
            raise gate.error from None
        finally:
            gate.has = gate.error = None


class _Gate:
    """A function of the database. SQLite hides what a function raises, so that it is kept here.

    It does not refer to the index: nothing would collect a circle through the database.
    """

    def __init__(self) -> None:
        self.has: Callable[[int], bool] | None = None
        self.error: BaseException | None = None

    def __call__(self, row: int) -> bool:
        try:
            return self.has is not None and self.has(row)
        except BaseException as error:
            self.error = error
            raise


def check_search(query: object, limit: object, prefix: object) -> None:
    """Refuses arguments of a search that are not valid.

    Raises:
        ValidationError: The query or the prefix is not a text, or the limit is not a number from 1 to 100.
    """
    if not isinstance(query, str):
        refuse_type("query", query, 'a text, such as "weather in a city"')
    if not isinstance(prefix, str):
        refuse_type("prefix", prefix, "a text: how the names of the tools begin")
    check_count("limit", limit, least=1, most=MAX_LIMIT, called="a whole number, 1 or more")


def _expressions(terms: list[str], counts: Mapping[str, int], most: int) -> Iterator[str]:
    """Yields what to look for, the most telling first; each is a wider one than that before.

    Args:
        terms: The terms, the rarest first.
        counts: How many tools have each, or more than ``most``.
        most: How many tools are ranked.
    """
    if not terms:
        return
    every = " OR ".join(terms)
    rare, left = [], most
    for term in terms:
        left -= counts[term]
        if left < 0:
            break
        rare.append(term)
    if rare and len(rare) < len(terms):
        yield f"({' OR '.join(rare)}) AND ({every})"
    elif not rare:
        # Thousands of tools have each of the words: those with all of them, then those with one in their name.
        if len(terms) > 1:
            yield " AND ".join(terms)
        yield f"(name : ({every})) AND ({every})"
    yield every


def _opened(gate: _Gate) -> Any:
    """Opens an empty index in memory."""
    try:
        # Not every Python has it, and few programs search.
        import sqlite3  # noqa: PLC0415

        # It is used by one thread at a time, but a bridge may move to another event loop.
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    except ImportError as error:
        raise _no_search(f"this Python has no sqlite3 ({error})") from None
    try:
        database.execute(
            "CREATE VIRTUAL TABLE tools USING fts5(name, description, arguments, "
            "tokenize = 'porter unicode61 remove_diacritics 2')"
        )
    except sqlite3.OperationalError as error:
        database.close()
        raise _no_search(f"the SQLite {sqlite3.sqlite_version} of this Python has no FTS5 ({error})") from None
    database.execute("INSERT INTO tools(tools, rank) VALUES ('rank', ?)", (_WEIGHTS,))
    database.create_function("allowed", 1, gate)
    return database


def _no_search(why: str) -> UnimplementedError:
    return UnimplementedError(
        f"tools cannot be searched: {why}; use a Python with SQLite and FTS5, as those of python.org, uv, conda, "
        "Debian and Alpine are"
    )
