"""Subclasses and look-alikes travel as the nearest row of the table; what has none is refused and told what to do."""

import array
import asyncio
import collections
import contextvars
import csv
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import itertools
import os
import pathlib
import re
import sqlite3
import subprocess
import threading
import time
import types
import typing
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from grpc_tool_bridge import MessageTooLargeError, SerializationError, deserialize_value, serialize_value
from grpc_tool_bridge.values import rows


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "printed"


class Whole(int):
    def __repr__(self) -> str:
        return "printed"


class Part(float):
    pass


class Blob(bytes):
    pass


class Pair(complex):
    pass


class Id(uuid.UUID):
    pass


class Amount(decimal.Decimal):
    pass


class Moment(dt.datetime):
    pass


class Day(dt.date):
    pass


class Clock(dt.time):
    pass


class Span(dt.timedelta):
    pass


class Names(list[str]):
    pass


class Row(tuple[int, ...]):
    __slots__ = ()


class Hit(typing.NamedTuple):
    score: int
    text: str


Untyped = collections.namedtuple("Untyped", "x y")  # noqa: PYI024 - the untyped one too


class Bag(dict[str, int]):
    pass


class Group(set[int]):
    pass


class Frozen(frozenset[int]):
    pass


class Table(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1, "b": 2}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class Column(Sequence[int]):
    """A sequence that is no list."""

    def __getitem__(self, index: Any) -> Any:
        return (7, 8)[index]

    def __len__(self) -> int:
        return 2


class Members(AbstractSet[int]):
    """A set that is no set."""

    def __contains__(self, item: object) -> bool:
        return item in (1, 2)

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))

    def __len__(self) -> int:
        return 2


class Record:
    """What can be read like a dict, and is registered as nothing."""

    def keys(self) -> list[str]:
        return ["x"]

    def __getitem__(self, key: str) -> int:
        return {"x": 1}[key]


class Index:
    def __index__(self) -> int:
        return 3


class Countdown:
    """An iterator that is no generator."""

    def __init__(self) -> None:
        self.left = 2

    def __iter__(self) -> "Countdown":
        return self

    def __next__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left


class Level(enum.IntEnum):
    HIGH = 3


class Mood(enum.StrEnum):
    GLAD = "glad"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


def sqlite_row() -> sqlite3.Row:
    with sqlite3.connect(":memory:") as connection:
        connection.row_factory = sqlite3.Row
        row: sqlite3.Row = connection.execute("select 1 as a, 'x' as b").fetchone()
    connection.close()
    return row


def yields() -> Iterator[int]:
    yield 1
    yield 2


NOW = (2026, 5, 4, 3, 2, 1, 5)

# A way to make the value, anew for each use since some can be read but once, and what arrives.
ROWS: dict[str, tuple[Any, Any]] = {
    "str": (lambda: Text("true"), "true"),
    "UserString": (lambda: collections.UserString("u"), "u"),
    "int": (lambda: Whole(5), 5),
    "large int": (lambda: Whole(2**80), 2**80),
    "index": (Index, 3),
    "float": (lambda: Part(1.5), 1.5),
    "bytes": (lambda: Blob(b"\x00\xff"), b"\x00\xff"),
    "bytearray": (lambda: bytearray(b"b"), b"b"),
    "memoryview": (lambda: memoryview(b"abc")[1:], b"bc"),
    "complex": (lambda: Pair(1, 2), 1 + 2j),
    "UUID": (lambda: Id(int=5), uuid.UUID(int=5)),
    "Decimal": (lambda: Amount("1.50"), decimal.Decimal("1.50")),
    "Decimal NaN": (lambda: Amount("sNaN5").copy_sign(decimal.Decimal(1)), None),
    "datetime": (lambda: Moment(*NOW, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), None),
    "date": (lambda: Day(2026, 5, 4), dt.date(2026, 5, 4)),
    "time": (lambda: Clock(1, 2, 3, 4, tzinfo=dt.UTC, fold=1), dt.time(1, 2, 3, 4, tzinfo=dt.UTC, fold=1)),
    "timedelta": (lambda: Span(days=-1, microseconds=1), dt.timedelta(days=-1, microseconds=1)),
    "IntEnum": (lambda: Level.HIGH, 3),
    "StrEnum": (lambda: Mood.GLAD, "glad"),
    "Flag": (lambda: Mode.READ | Mode.WRITE, 3),
    "list": (lambda: Names(["a"]), ["a"]),
    "UserList": (lambda: collections.UserList([1, 2]), [1, 2]),
    "deque": (lambda: collections.deque([1, 2], maxlen=2), [1, 2]),
    "range": (lambda: range(3), [0, 1, 2]),
    "array": (lambda: array.array("d", [1.5, 2]), [1.5, 2.0]),
    "Sequence": (Column, [7, 8]),
    "tuple": (lambda: Row((1, 2)), (1, 2)),
    "NamedTuple": (lambda: Hit(1, "x"), (1, "x")),
    "namedtuple": (lambda: Untyped(1, 2), (1, 2)),
    "struct_time": (lambda: time.gmtime(0), (1970, 1, 1, 0, 0, 0, 3, 1, 0)),
    "dict": (lambda: Bag(a=1), {"a": 1}),
    "Counter": (lambda: collections.Counter("aab"), {"a": 2, "b": 1}),
    "defaultdict": (lambda: collections.defaultdict(list, a=[1]), {"a": [1]}),
    "OrderedDict": (lambda: collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "UserDict": (lambda: collections.UserDict(a=1), {"a": 1}),
    "ChainMap": (lambda: collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
    "MappingProxyType": (lambda: types.MappingProxyType({"a": 1}), {"a": 1}),
    "Mapping": (Table, {"a": 1, "b": 2}),
    "keys and items": (Record, {"x": 1}),
    "sqlite3.Row": (sqlite_row, {"a": 1, "b": "x"}),
    "set": (lambda: Group({1}), {1}),
    "frozenset": (lambda: Frozen({1}), frozenset({1})),
    "Set": (Members, {1, 2}),
    "dict keys": ({"b": 1, "a": 2}.keys, ["b", "a"]),
    "dict values": ({"a": [1]}.values, [[1]]),
    "dict items": ({"a": [1]}.items, [("a", [1])]),
    "generator": (yields, [1, 2]),
    "iterator class": (Countdown, [1, 0]),
    "map": (lambda: map(str, [1]), ["1"]),
    "filter": (lambda: filter(None, [0, 1]), [1]),
    "zip": (lambda: zip("a", [1], strict=True), [("a", 1)]),
    "enumerate": (lambda: enumerate("a"), [(0, "a")]),
    "reversed": (lambda: reversed([1, 2]), [2, 1]),
    "iter(list)": (lambda: iter([1, 2]), [1, 2]),
    "iter(dict)": (lambda: iter({"a": 1}), ["a"]),
    "islice": (lambda: itertools.islice(itertools.count(), 2), [0, 1]),
    "chain": (lambda: itertools.chain([1], [2]), [1, 2]),
    "csv.reader": (lambda: csv.reader(["a,b"]), [["a", "b"]]),
    "iterators in iterators": (lambda: map(iter, [[1], [2]]), [[1], [2]]),
}
# Of these the right value needs more than a literal.
ROWS["datetime"] = (ROWS["datetime"][0], dt.datetime(*NOW, fold=1, tzinfo=ZoneInfo("Europe/Berlin")))
del ROWS["Decimal NaN"]


def same(back: Any, wanted: Any) -> bool:
    return type(back) is type(wanted) and back == wanted and repr(back) == repr(wanted)


@pytest.mark.parametrize("name", ROWS)
def test_it_loses_only_its_class(name: str) -> None:
    make, wanted = ROWS[name]
    assert same(deserialize_value(serialize_value(make())), wanted)


@pytest.mark.parametrize("name", ROWS)
def test_it_loses_only_its_class_wherever_it_stands(name: str) -> None:
    make, wanted = ROWS[name]
    for hold in (lambda item: [item], lambda item: {"a": item}, lambda item: (1.5, [item]), lambda item: {1: item}):
        assert same(deserialize_value(serialize_value(hold(make()))), hold(wanted))


def test_a_signalling_nan_of_a_subclass_stays_one() -> None:
    back = deserialize_value(serialize_value(Amount("sNaN5")))
    assert type(back) is decimal.Decimal
    assert back.is_snan()
    assert str(back) == "sNaN5"


@pytest.mark.parametrize(
    "value",
    [
        pathlib.PurePosixPath("a/b"), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"),
        ZoneInfo("Europe/Berlin"), type("Nobody", (), {"__str__": lambda self: "text of its own"})(),
    ],
)  # fmt: skip
def test_a_class_that_nobody_knows_is_its_own_text(value: Any) -> None:
    made = serialize_value(value)
    assert made.type_url == f"type.googleapis.com/python.{type(value).__name__}"
    assert deserialize_value(made) == str(value)


class Iterable:
    def __iter__(self) -> Iterator[int]:
        return iter([1])

    def __str__(self) -> str:
        return "printed"


class Sized:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return index

    def __str__(self) -> str:
        return "printed"


class Number:
    def __float__(self) -> float:
        return 1.5

    def __str__(self) -> str:
        return "1.5"


class Asynchronous:
    def __aiter__(self) -> "Asynchronous":
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


class Twice:
    def keys(self) -> list[str]:
        return ["a", "a"]

    def __getitem__(self, key: str) -> int:
        return 1


async def coroutine() -> None:
    """Never awaited where it is refused; the test closes it."""


REFUSED: dict[str, tuple[Any, str]] = {
    "object": (object, "register_codec"),
    "instance without text": (type("Plain", (), {}), r"vars\("),
    "SimpleNamespace": (lambda: types.SimpleNamespace(a=1), r"vars\("),
    "class": (lambda: int, "its name"),
    "module": (lambda: os, "its name"),
    "function": (lambda: len, "what it returns"),
    "lambda": (lambda: lambda: 1, "what it returns"),
    "method": (lambda: "a".upper, "what it returns"),
    "partial": (lambda: functools.partial(int), "register_codec"),
    "generic alias": (lambda: list[int], "send "),
    "exception": (lambda: ValueError("x"), r"repr\("),
    "exception of one's own": (type("Mine", (Exception,), {"__str__": lambda self: "m"}), r"repr\("),
    "match": (lambda: re.match("a", "a"), "group"),
    "StringIO": (lambda: io.StringIO("x"), "getvalue"),
    "BytesIO": (lambda: io.BytesIO(b"x"), "getvalue"),
    "lock": (threading.Lock, "register_codec"),
    "context variable": (lambda: contextvars.ContextVar("v"), "register_codec"),
    "weak reference": (lambda: weakref.ref(Group()), "register_codec"),
    "completed process": (lambda: subprocess.CompletedProcess([], 0), r"vars\("),
    "ellipsis": (lambda: ..., "register_codec"),
    "NotImplemented": (lambda: NotImplemented, "register_codec"),
    "iterable only": (Iterable, r"list\("),
    "sized only": (Sized, r"list\("),
    "number": (Number, r"float\("),
    "asynchronous iterator": (Asynchronous, "async for"),
    "a key twice": (Twice, "duplicate key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_row_is_refused_with_what_to_do(name: str) -> None:
    make, advice = REFUSED[name]
    for hold in (lambda item: item, lambda item: [item], lambda item: {"a": item}, lambda item: (item,)):
        with pytest.raises(SerializationError, match=advice):
            serialize_value(hold(make()))


def test_an_open_file_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "f"
    path.write_text("a\n")
    with path.open() as file, pytest.raises(SerializationError, match=r"read\(\)"):
        serialize_value(file)
    with os.scandir(tmp_path) as entries, pytest.raises(SerializationError, match="its path"):
        serialize_value(entries)


async def test_what_can_be_awaited_is_refused() -> None:
    future = asyncio.get_running_loop().create_future()
    waiting = coroutine()
    for value in (future, waiting, [waiting]):
        with pytest.raises(SerializationError, match="await"):
            serialize_value(value)
    waiting.close()


@pytest.mark.parametrize("make", [itertools.count, lambda: itertools.repeat("x" * 1000), lambda: [itertools.count()]])
def test_an_endless_iterator_is_too_large(make: Any) -> None:
    with pytest.raises(MessageTooLargeError, match="iterator"):
        serialize_value(make(), max_bytes=100_000)


def test_the_same_iterator_twice_is_read_once() -> None:
    numbers = iter([1, 2])
    assert deserialize_value(serialize_value([numbers, numbers])) == [[1, 2], [1, 2]]


def test_what_an_iterator_raises_is_its_own() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        serialize_value([fails()])


def test_a_container_that_holds_itself_by_a_look_alike_is_refused() -> None:
    inner: Any = collections.UserList()
    inner.append(inner)
    with pytest.raises(SerializationError, match="contains itself"):
        serialize_value(inner)


def test_a_class_is_looked_at_once() -> None:
    before = rows.row_of.cache_info().misses
    for _ in range(5):
        serialize_value(Hit(1, "x"))
    assert rows.row_of.cache_info().misses <= before + 1


def test_fractions_are_no_text() -> None:
    with pytest.raises(SerializationError, match="declares"):
        serialize_value(fractions.Fraction(1, 3))
