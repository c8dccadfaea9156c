"""Where a process with a store kills itself."""

import json
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from grpc_tool_bridge.stores.sqlite import log
from grpc_tool_bridge.stores.sqlite.store import SqliteStore

# On the way of a commit, in the writer's thread; "committed" is before callers are told, "told" after that.
POINTS = ("received", "begun", "written", "committed", "told", "tidied")

# The verbs of a store whose changes are killed on their way.
VERBS = (
    "create_session",
    "end_session",
    "set_variable",
    "delete_variable",
    "begin_call",
    "keep_answer",
    "add_agent",
    "begin_run",
    "add_chunk",
    "reserve_revisions",
)

# Beside the points: before an SQL statement of any connection, or a change of a file beside the store, since the
# process began, or since it was told to close.
STATEMENT, CLOSING = "statement", "closing"


@dataclass(frozen=True)
class Kill:
    """Says where a process kills itself.

    Attributes:
        point: One of ``POINTS``, ``STATEMENT`` or ``CLOSING``; empty: nowhere.
        number: Which passing of it kills.
        verb: Only passings after a change by this verb was given to the store, of which ``number`` counts those; empty:
            all passings.
        pages: Pages of the log from which on it is carried over to the file.
        keeps_little: Whether the store soon removes what is over.
    """

    point: str = ""
    number: int = 1
    verb: str = ""
    pages: int = 900
    keeps_little: bool = False

    def __str__(self) -> str:
        return f"{self.point or 'nowhere'} {self.number} {self.verb}".strip()

    def to_json(self) -> str:
        """Returns it as an argument of a process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Kill":
        """Returns what ``to_json`` wrote."""
        return cls(**json.loads(text))


def deck(rng: random.Random) -> Iterator[Kill]:
    """Yields where to kill, each way once in a random order, and again."""
    while True:
        ways = [(point, verb) for point in POINTS for verb in VERBS]
        ways += [(point, "") for point in POINTS]
        ways += [(STATEMENT, "")] * 6 + [(CLOSING, "")] * 6 + [("", "")] * 6
        rng.shuffle(ways)
        for point, verb in ways:
            most = {STATEMENT: 160, CLOSING: 14}.get(point, 3 if verb else 40)
            if verb == "reserve_revisions":
                # The first one is that of the opening.
                most = 2
            yield Kill(point, rng.randint(1, most), verb, pages=rng.choice((4, 16, 900)))


class Killer:
    """Kills this process where it was told to.

    Args:
        kill: Says where.
    """

    def __init__(self, kill: Kill) -> None:
        self._kill = kill
        self._passed = 0
        self._closing = False
        # Whether the change that is to be killed on its way has been given to the store.
        self._armed = not kill.verb

    def at_point(self, point: str) -> None:
        """Passes a point of the writer."""
        if point == self._kill.point and self._armed:
            self._count(at_once=bool(self._kill.verb))

    def given(self, verb: str) -> None:
        """Notes that a change was given to the store."""
        if verb == self._kill.verb and not self._armed:
            self._passed += 1
            self._armed = self._passed >= self._kill.number

    def close(self) -> None:
        """Notes that the process was told to close."""
        self._closing = True

    def listen(self) -> None:
        """Counts the statements of all connections and the changes of files in this process from now on."""
        connect = sqlite3.connect

        def traced(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(self._at_statement)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]
        for name in ("pwrite", "ftruncate", "fsync", "replace", "unlink"):
            setattr(os, name, self._counted(getattr(os, name)))
        log.PAGES = self._kill.pages

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            self._at_statement(function.__name__)
            return function(*args, **options)

        return count

    def _at_statement(self, _: str) -> None:
        if self._kill.point == STATEMENT or (self._closing and self._kill.point == CLOSING):
            self._count(at_once=False)

    def _count(self, *, at_once: bool) -> None:
        self._passed += 1
        if at_once or self._passed >= self._kill.number:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledStore(SqliteStore):
    """A store whose process is killed on the way of a change; see ``Killer``."""

    killer: Killer

    async def begin_call(self, *args: Any, **options: Any) -> Any:
        self.killer.given("begin_call")
        return await super().begin_call(*args, **options)


def _given(verb: str) -> Any:
    def give(self: KilledStore, *args: Any, **options: Any) -> Any:
        write = getattr(SqliteStore, verb)(self, *args, **options)
        self.killer.given(verb)
        return write

    return give


for _verb in VERBS:
    if _verb != "begin_call":
        setattr(KilledStore, _verb, _given(_verb))
