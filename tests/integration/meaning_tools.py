"""Tools of every kind, at the top of a module so that they run in processes as well, and what they are given."""

import asyncio
import collections
import dataclasses as dc
import datetime as dt
import fractions
import functools
import itertools
import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretBytes, SecretStr, computed_field


class Hit(NamedTuple):
    score: int
    text: str


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Zoo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    animals: list[Animal]
    keeper: str = Field("nobody", alias="theKeeper")
    key: str = Field("none", exclude=True)

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's docs say
    @property
    def count(self) -> int:
        return len(self.animals)


@dc.dataclass
class Point:
    x: int
    y: int = dc.field(init=False)

    def __post_init__(self) -> None:
        self.y = -self.x


Euros = Annotated[float, PlainSerializer(lambda euros: f"{euros:.2f}", return_type=str)]


@dc.dataclass
class Bill:
    total: Euros


class Login(BaseModel):
    password: SecretStr
    pattern: re.Pattern[str] | None = None


def echo(value: Any) -> Any:
    return value


def each(value: Any) -> Iterator[Any]:
    yield value
    yield [value]


# ---------------------------------------------------------------------------------------- results by their declaration


def hit() -> Hit:
    return Hit(1, "x")


def hit_of_dict() -> Hit:
    return {"score": 1, "text": "x"}  # type: ignore[return-value]  # what people return


def counted() -> dict[str, int]:
    return collections.Counter("aab")


def proxied() -> Mapping[str, int]:
    return types.MappingProxyType({"a": 1})


def listed() -> list[int]:
    return (number for number in (1, 2))  # type: ignore[return-value]  # likewise


def iterable() -> Iterable[int]:
    return map(int, "12")


def valued() -> list[int]:
    return {"a": 1}.values()  # type: ignore[return-value]  # likewise


def whole() -> float:
    return 5


def zoo() -> Zoo:
    return Zoo(animals=[Dog(name="Rex", breed="Collie")], theKeeper="K", key="secret")


def zoo_of_dict() -> Zoo:
    return {"animals": [{"name": "A"}], "theKeeper": "K"}  # type: ignore[return-value]  # likewise


def point() -> Point:
    return Point(3)


def nothing() -> None:
    return None


def prices() -> list[Euros]:
    return [1.5, 2]


def bill() -> Bill:
    return Bill(1.5)


def bills() -> Iterator[Bill]:
    yield Bill(1.5)
    yield {"total": 2.5}  # type: ignore[misc]  # likewise


def rows_or_none() -> Iterator[int] | None:
    return (number for number in (1, 2))


RESULTS: dict[str, tuple[Callable[..., Any], Any]] = {
    "NamedTuple": (hit, (1, "x")),
    "NamedTuple of a dict": (hit_of_dict, (1, "x")),
    "Counter": (counted, {"a": 2, "b": 1}),
    "MappingProxyType": (proxied, {"a": 1}),
    "generator as a list": (listed, [1, 2]),
    "iterator as an Iterable": (iterable, [1, 2]),
    "values as a list": (valued, [1]),
    "int as a float": (whole, 5.0),
    "model": (zoo, {"animals": [{"name": "Rex", "breed": "Collie"}], "theKeeper": "K", "count": 1}),
    "model of a dict": (zoo_of_dict, {"animals": [{"name": "A"}], "theKeeper": "K", "count": 1}),
    "dataclass": (point, {"x": 3, "y": -3}),
    "nothing": (nothing, None),
    "serializers": (prices, ["1.50", "2.00"]),
    "serializer of a field": (bill, {"total": "1.50"}),
    "stream with serializers": (bills, [{"total": "1.50"}, {"total": "2.50"}]),
    "iterator or None": (rows_or_none, [1, 2]),
}


def text_for_a_number() -> int:
    return "5"  # type: ignore[return-value]  # the fault


def texts_for_numbers() -> list[int]:
    return [1, "2"]  # type: ignore[list-item]  # the fault


def something_for_nothing() -> None:
    return 5  # type: ignore[return-value]  # the fault


def set_for_a_list() -> list[int]:
    return {1}  # type: ignore[return-value]  # the fault


def wrong_field() -> Point:
    made = Point(3)
    made.x = "3"  # type: ignore[assignment]  # the fault
    return made


def wrong_model() -> Zoo:
    return {"animals": [{"nam": "A"}]}  # type: ignore[return-value]  # the fault


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "text for a number": (text_for_a_number, "valid integer"),
    "texts for numbers": (texts_for_numbers, r"\[1\] should be a valid integer"),
    "something for nothing": (something_for_nothing, "None"),
    "set for a list": (set_for_a_list, "valid list"),
    "field of another type": (wrong_field, r"\.x should be a valid integer"),
    "model without a field": (wrong_model, r"\.name is missing"),
}


def wrong_chunk() -> Iterator[int]:
    yield 1
    yield "2"  # type: ignore[misc]  # the fault


# --------------------------------------------------------------------------------------- hidden streams and awaitables


def _passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Decorated:
    """The docstring of the decorator."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _generator(count: int) -> Generator[int, None, None]:
    yield from range(count)


def returns_generator(count: int):  # type: ignore[no-untyped-def]
    return _generator(count)


def returns_iterator(count: int) -> Iterator[int]:
    return iter(list(range(count)))


def returns_list_as_iterator(count: int) -> Iterator[int]:
    return list(range(count))  # type: ignore[return-value]  # what people return


async def _numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def returns_async_generator(count: int) -> AsyncIterator[int]:
    return _numbers(count)


async def awaits_async_generator(count: int) -> AsyncIterator[int]:
    return _numbers(count)


async def awaits_generator(count: int) -> Iterator[int]:
    return _generator(count)


@_passes_on
def wrapped_generator(count: int) -> Iterator[int]:
    yield from range(count)


@_passes_on
async def wrapped_async_generator(count: int):  # type: ignore[no-untyped-def]
    for number in range(count):
        yield number


@Decorated
def decorated_generator(count: "int") -> Iterator[int]:
    """The docstring of the tool."""
    yield from range(count)


class Callables:
    def __call__(self, count: int) -> Iterator[int]:
        return map(int, "012"[:count])


partial_generator = functools.partial(_generator, 3)
callable_object = Callables()

STREAMS: dict[str, Callable[..., Any]] = {
    "returned generator": returns_generator,
    "returned iterator": returns_iterator,
    "list that is declared an iterator": returns_list_as_iterator,
    "returned asynchronous generator": returns_async_generator,
    "awaited asynchronous generator": awaits_async_generator,
    "awaited generator": awaits_generator,
    "generator behind functools.wraps": wrapped_generator,
    "asynchronous generator behind functools.wraps": wrapped_async_generator,
    "callable object": callable_object,
}

# A process finds a function by its name, and has no event loop for an asynchronous one.
IN_NO_PROCESS = {"awaited asynchronous generator", "awaited generator", "callable object"}


async def _number() -> int:
    await asyncio.sleep(0)
    return 5


@_passes_on
async def wrapped_coroutine() -> int:
    return await _number()


def returns_coroutine() -> Coroutine[Any, Any, int]:
    return _number()


class Later:
    def __await__(self) -> Generator[Any, None, int]:
        return _number().__await__()


def returns_awaitable() -> Awaitable[int]:
    return Later()


def returns_nested():  # type: ignore[no-untyped-def]
    async def outer() -> Any:
        return _number()

    return outer()


AWAITABLES: dict[str, Callable[..., Any]] = {
    "coroutine behind functools.wraps": wrapped_coroutine,
    "returned coroutine": returns_coroutine,
    "returned awaitable": returns_awaitable,
    "coroutine of a coroutine": returns_nested,
}


def endless():  # type: ignore[no-untyped-def]
    return itertools.count()


def endless_list() -> list[int]:
    return itertools.count()  # type: ignore[return-value]  # what people return


def endless_stream() -> Iterator[bytes]:
    return itertools.repeat(bytes(1_000_000))


def endless_inside() -> list[Any]:
    return [itertools.count()]


def fails_late():  # type: ignore[no-untyped-def]
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    return numbers()


# --------------------------------------------------------------------------- values that only a declared receiver gets


def secret(value: SecretStr) -> SecretStr:
    assert isinstance(value, SecretStr)
    return value


def secret_bytes(value: SecretBytes) -> bytes:
    return value.get_secret_value()


def login(value: Login) -> Login:
    assert isinstance(value.password, SecretStr)
    return value


def logins(*values: Login) -> list[str]:
    return [value.password.get_secret_value() for value in values]


def named_secrets(**values: SecretStr) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}


def pattern(value: re.Pattern[str]) -> list[Any]:
    return [value.pattern, value.flags, bool(value.match("ABC"))]


def fraction(value: fractions.Fraction) -> fractions.Fraction:
    assert isinstance(value, fractions.Fraction)
    return value


def text(value: str) -> str:
    return value


# ---------------------------------------------------------------------------------------- arguments that are read once


def total(values: list[int]) -> int:
    return sum(values)


ARGUMENTS: dict[str, Callable[[], Any]] = {
    "generator": lambda: (number for number in (1, 2)),
    "map": lambda: map(int, "12"),
    "dict values": {"a": 1, "b": 2}.values,
    "deque": lambda: collections.deque([1, 2]),
    "tuple": lambda: (1, 2),
    "UserList": lambda: collections.UserList([1, 2]),
}

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "Counter": (lambda: collections.Counter("aab"), {"a": 2, "b": 1}),
    "NamedTuple": (lambda: Hit(1, "x"), (1, "x")),
    "MappingProxyType": (lambda: types.MappingProxyType({"a": (1,)}), {"a": (1,)}),
    "generator": (lambda: (number for number in (1, 2)), [1, 2]),
    "iterators inside": (
        lambda: {"a": map(str, [1]), "b": [zip("a", [1], strict=True)]},
        {"a": ["1"], "b": [[("a", 1)]]},
    ),
    "int subclass": (lambda: type("Whole", (int,), {})(5), 5),
    "str subclass": (lambda: type("Text", (str,), {})("t"), "t"),
    "datetime subclass": (
        lambda: type("Moment", (dt.datetime,), {})(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
    ),
}
