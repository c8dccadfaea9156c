"""The usual call, which takes a short way at each end, is seen to be the same as any other call: what it gives."""

import asyncio
import enum
import hashlib
from collections.abc import AsyncIterator, Callable
from copy import copy
from typing import Annotated, Any, Literal, NoReturn

import pytest
from annotated_types import Gt, MaxLen
from pydantic import AfterValidator, BaseModel, Field

from grpc_tool_bridge import ToolBridgeError, ValidationError, pipeline, step, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.values.serialization import serialize_value
from integration.both_ways import PLACES, Open, same

pytestmark = pytest.mark.parametrize("place", PLACES)

ALL = ("client", "hub", "worker")
# Each end with the short way, and those beside it without.
EACH_END = (ALL, ("client",), ("hub",), ("worker",))


class Whole(int):
    """A subclass of a scalar."""


class Text(str):
    """Another."""

    __slots__ = ()


class Level(enum.IntEnum):
    LOW = 1


# Lengths at which a varint takes one byte more, of the text, its Any and the argument around it.
BORDERS = [length for border in (64, 128, 16_384) for length in range(border - 60, border + 3)]

VALUES: list[Any] = [
    "",
    "text",
    "ünï\u0000cödé 🛰",
    "\ud800",
    0,
    1,
    -1,
    *(
        sign * 2**power + more
        for sign in (1, -1)
        for power in (7, 14, 21, 28, 31, 32, 62, 63, 64)
        for more in (-1, 0, 1)
    ),
    2**16_000,
    0.0,
    -0.0,
    1e308,
    5e-324,
    float("inf"),
    float("-inf"),
    float("nan"),
    True,
    False,
    None,
    b"",
    b"\x00\xff",
    Whole(5),
    Text("five"),
    Level.LOW,
    [],
    {},
    [1, None],
    (1,),
    object,
]


async def test_values_there_and_back(place: str) -> None:
    async def echo(value: Any = "none given") -> Any:
        return value

    async def scenario(start: Open) -> Any:
        world = await start(echo)
        seen = [await world.call("echo", value) for value in VALUES]
        seen += [await world.call("echo", value=value) for value in VALUES]
        return [*seen, await world.call("echo"), world.counts("echo")]

    await same(scenario, place, ways=EACH_END)


async def test_texts_and_bytes_of_each_length_at_which_a_varint_grows(place: str) -> None:
    async def echo(value: Any) -> Any:
        return value

    async def length(value: Any) -> int:
        return len(value)

    async def scenario(start: Open) -> Any:
        world = await start(echo, length)
        seen = []
        for size in BORDERS:
            seen += [await world.call("echo", "x" * size), await world.call("echo", value=b"x" * size)]
            seen += [await world.call("length", "x" * size), await world.call("length", value="ü" * size)]
        return seen

    await same(scenario, place)


async def test_arguments_by_position_and_by_name(place: str) -> None:
    async def plain(a: int, b: float = 0.5, *, c: str | None = None) -> Any:
        return [a, b, c]

    async def only(a: int, /, b: int = 2) -> Any:
        return [a, b]

    async def many(first: str = "", *rest: int, flag: bool = False, **others: Any) -> Any:
        # Protobuf has no order of names.
        return [first, rest, flag, sorted(others.items())]

    async def none() -> None:
        pass

    async def scenario(start: Open) -> Any:
        world = await start(plain, only, many, none)
        calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
            ("plain", (1,), {}),
            ("plain", (1, 2), {}),
            ("plain", (1, 2.5), {"c": "x"}),
            ("plain", (), {"c": "x", "b": 1, "a": 2}),
            ("plain", (1, 2, "c"), {}),
            ("plain", (1,), {"a": 2}),
            ("plain", (), {}),
            ("plain", (1,), {"d": 2}),
            ("plain", ("one",), {}),
            ("plain", ("1",), {}),
            ("plain", (1.0,), {}),
            ("plain", (1.5,), {}),
            ("plain", (True,), {"b": None}),
            ("plain", (None, "x"), {"c": 5, "d": 6, "e" * 500: 7}),
            ("plain", (1,), {"": 2}),
            ("plain", (1,), {"\ud800": 2}),
            ("plain", (1,), {"self": 2}),
            ("plain", (2**70,), {}),
            ("only", (1,), {}),
            ("only", (), {"a": 1}),
            ("only", (), {"b": 1}),
            ("only", (1,), {"a": 1}),
            ("only", (1, 2, 3), {}),
            ("many", (), {}),
            ("many", ("x", 1, 2, 3), {}),
            ("many", ("x",), {"z": 1, "y": None, "flag": True, "a" * 130: 5}),
            ("many", ("x", "y"), {}),
            ("many", (), {"rest": [1, 2]}),
            ("many", ("x", *range(300)), {}),
            ("many", ("x", *range(2_000)), {}),
            ("many", (), {f"name{number}": number for number in range(300)}),
            ("none", (), {}),
            ("none", (1,), {}),
            ("nothing", (1,), {}),
            ("n" * 300, (1,), {}),
        ]
        return [await world.call(name, *args, **kwargs) for name, args, kwargs in calls], [
            world.counts(name) for name in ("plain", "only", "many", "none")
        ]

    await same(scenario, place, ways=EACH_END)


async def test_annotations_that_convert_or_constrain(place: str) -> None:
    seen: list[Any] = []

    def odd(value: int) -> int:
        seen.append(value)
        if value % 2 == 0:
            raise ValueError("is even")
        if value == 13:
            raise SystemExit
        return value + 100

    class Order(BaseModel):
        id: int = 5

    async def constrained(
        small: Annotated[int, Gt(0), Field(lt=10)], name: Annotated[str, MaxLen(3)] = "", kind: Literal["a", "b"] = "a"
    ) -> Any:
        return [small, name, kind]

    async def validated(value: Annotated[int, AfterValidator(odd)], *rest: int) -> Any:
        return [value, rest]

    async def made(tags: Annotated[list[str], Field(default_factory=list)], order: Order | None = None) -> Any:
        tags.append("mine")
        return [tags, order is not None and order.id]

    async def scenario(start: Open) -> Any:
        seen.clear()
        world = await start(constrained, validated, made)
        outcomes = [
            await world.call("constrained", *args) for args in [(1,), (0,), (10, "long"), (5, "abc", "b"), (5, "", "c")]
        ]
        outcomes += [await world.call("validated", value) for value in (1, 3, 13)]
        valid = list(seen)
        outcomes += [await world.call("validated", 2), await world.call("validated", 1, 2)]
        outcomes += [await world.call("made") for _ in range(2)]
        outcomes += [await world.call("made", ["x"]), await world.call("made", order={"id": 7})]
        # The validators of a call that is refused may run more often the short way, which is tried first.
        return outcomes, valid[:2], {*seen}

    await same(scenario, place)


async def test_results_of_every_kind(place: str) -> None:
    class Odd(type):
        def __hash__(cls) -> int:
            raise LookupError("no hash")

    class OddClass(metaclass=Odd):
        pass

    async def number() -> int:
        return 7

    async def values() -> AsyncIterator[int]:
        for value in range(3):
            yield value

    async def failing_values() -> AsyncIterator[int]:
        yield 1
        raise LookupError("after one")

    def future(*, error: BaseException | None = None) -> asyncio.Future[str]:
        made: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        made.set_result("later") if error is None else made.set_exception(error)
        return made

    cyclic: list[Any] = []
    cyclic.append(cyclic)
    makers: list[Callable[[], Any]] = [
        number,
        values,
        failing_values,
        future,
        lambda: future(error=LookupError("later")),
        lambda: number,
        lambda: cyclic,
        object,
        lambda: OddClass,
        OddClass,
        lambda: "\ud800",
        lambda: "x" * 100,
        lambda: b"x" * 100_000,
        lambda: 2**16_000,
        lambda: Whole(3),
        lambda: Text("three"),
        lambda: Level.LOW,
        lambda: (1, 2),
        lambda: iter([1, 2]),
        lambda: {1: "one"},
        lambda: ValueError("no error"),
        lambda: NotImplemented,
    ]

    async def give(which: int) -> Any:
        return makers[which]()

    async def give_later(which: int) -> Any:
        await asyncio.sleep(0)
        return makers[which]()

    async def scenario(start: Open) -> Any:
        world = await start(give, give_later)
        seen = [await world.call(name, which) for which in range(len(makers)) for name in ("give", "give_later")]
        await world.quiet()
        return seen, world.counts("give"), world.counts("give_later")

    await same(scenario, place, ways=EACH_END)


@pytest.mark.parametrize("checked", [True, False])
async def test_results_that_do_not_fit_their_annotation(place: str, checked: bool) -> None:
    results: list[Any] = [1, "1", "one", 1.0, 1.5, True, None, 2**70, [1], b"1", Whole(4)]

    @tool(check_result=checked)
    async def whole(which: int) -> int:
        return results[which]  # type: ignore[no-any-return]

    @tool(check_result=checked)
    async def maybe(which: int) -> float | None:
        await asyncio.sleep(0)
        return results[which]  # type: ignore[no-any-return]

    async def scenario(start: Open) -> Any:
        world = await start(whole, maybe)
        return [await world.call(name, which) for which in range(len(results)) for name in ("whole", "maybe")]

    await same(scenario, place)


class OwnError(Exception):
    """Has a text that runs code."""

    def __str__(self) -> str:
        return f"own {self.args}"


def grouped() -> NoReturn:
    raise ExceptionGroup("two", [ValueError("one"), OwnError("other")])


def base_grouped() -> NoReturn:
    raise BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()])


def chained() -> NoReturn:
    try:
        raiser(LookupError("first"))()
    except LookupError as error:
        raise OwnError("second") from error


def with_notes() -> NoReturn:
    error = ValueError("no")
    error.add_note("a note")
    raise error


def raiser(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        # Another one each time: a traceback grows.
        raise copy(error)

    return fail


RAISED: list[Callable[[], Any]] = [
    *(
        raiser(error)
        for error in (
            ValueError("no"),
            OwnError("no"),
            TimeoutError("mine"),
            asyncio.CancelledError("mine"),
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            StopAsyncIteration(),
            MemoryError(),
            ToolBridgeError("mine"),
            ValidationError("mine", details={"a": "b"}),
            asyncio.InvalidStateError("x" * 5_000),
        )
    ),
    grouped,
    base_grouped,
    chained,
    with_notes,
    lambda: next(iter([])),
]


@pytest.mark.parametrize("tracebacks", [True, False])
async def test_what_a_tool_raises(place: str, tracebacks: bool) -> None:
    async def fail(which: int) -> None:
        RAISED[which]()

    async def fail_later(which: int) -> None:
        await asyncio.sleep(0)
        RAISED[which]()

    async def fail_awaiting(which: int) -> None:
        async def inner() -> None:
            await asyncio.sleep(0)
            RAISED[which]()

        await asyncio.gather(inner())

    async def scenario(start: Open) -> Any:
        world = await start(fail, fail_later, fail_awaiting, show_tracebacks=tracebacks)
        # An exception of a task that ends the event loop is no tool's.
        harmless = [which for which in range(len(RAISED)) if which not in (4, 5)]
        seen = [await world.call(name, which) for which in range(len(RAISED)) for name in ("fail", "fail_later")]
        seen += [await world.call("fail_awaiting", which) for which in harmless if which != 13]
        await world.quiet()
        return seen, [world.counts(name) for name in ("fail", "fail_later", "fail_awaiting")]

    await same(scenario, place)


def requests() -> list[bytes]:
    """Requests that no client of this package writes, and some that it does."""
    usual = ToolCallRequest(session_id="s", tool_id="pair", args=[serialize_value(1)], timeout_ms=30_000)
    named = ToolCallRequest(session_id="s", tool_id="pair", kwargs={"a": serialize_value(1)})
    twice = ToolCallRequest(session_id="s", tool_id="pair", kwargs={"a": serialize_value(2)})
    whole = usual.SerializeToString()
    head = ToolCallRequest(session_id="s", tool_id="pair").SerializeToString()
    return [
        whole,
        b"",
        whole[:-1],
        whole[:40],
        whole + b"\x00",
        whole + whole,
        # The same name twice: the last one counts.
        named.SerializeToString() + ToolCallRequest(kwargs=twice.kwargs).SerializeToString(),
        named.SerializeToString() + ToolCallRequest(args=usual.args).SerializeToString(),
        ToolCallRequest(args=usual.args).SerializeToString() + head,
        *(head + ToolCallRequest(args=usual.args, timeout_ms=ms).SerializeToString() for ms in (-1, -(2**31), 1_000)),
        # A timeout that is longer than it need be, and one of more bits than it has.
        whole[:-3] + b"\x30\xb0\xea\x81\x00",
        whole[:-3] + b"\x30\xb0\xea\x81\x80\x10",
        whole[:-3] + b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        head.replace(b"pair", b"p\xffir"),
        head.replace(b"pair", b"PAIR"),
        ToolCallRequest(session_id="another", tool_id="pair", args=usual.args).SerializeToString(),
        ToolCallRequest(session_id="s" * 300, tool_id="pair", args=usual.args).SerializeToString(),
        ToolCallRequest(session_id="s", tool_id="pair", args=usual.args, request_id="r").SerializeToString(),
        ToolCallRequest(session_id="s", tool_id="pair", args=usual.args, context={"k": "v"}).SerializeToString(),
        ToolCallRequest(session_id="s", tool_id="pair", args=usual.args, idempotency_key="k").SerializeToString(),
        head + ToolCallRequest(args=[serialize_value(None), serialize_value([1])]).SerializeToString(),
        # An argument without a type, and one whose type is not known.
        head + b"\x1a\x00",
        head + b"\x1a\x03\x0a\x01x",
        head + b"\x1a\x05\x0a\x03\xff\xff\xff",
        # An unknown field.
        whole + b"\xfa\x07\x01x",
        whole.replace(b"Int64Value", b"Int32Value").replace(b"\x08\x01", b"\x08\x81"),
    ]


async def test_requests_of_other_peers(place: str) -> None:
    async def pair(a: Any = "none", b: Any = "none") -> Any:
        return [a, b]

    async def text(a: Any = "none") -> str:
        return repr(a)

    async def scenario(start: Open) -> Any:
        world = await start(pair, text)
        seen = [await world.send(request) for request in requests()]
        seen += [await world.send(request.replace(b"pair", b"text")) for request in requests()]
        await world.quiet()
        return seen, world.counts("pair"), world.counts("text")

    seen = await same(scenario, place, ways=(("hub", "worker"),))
    assert any("timeout_ms must be" in str(item) for item in seen[0][0])


async def test_tools_that_are_no_usual_ones(place: str) -> None:
    def in_thread(a: int) -> int:
        return a

    @tool(executor="async")
    def in_loop(a: int) -> int:
        return a

    async def stream(a: int) -> AsyncIterator[int]:
        yield a

    async def scenario(start: Open) -> Any:
        world = await start(in_thread, in_loop, stream)
        return [await world.call(name, arg) for name in ("in_thread", "in_loop", "stream") for arg in (1, "x")]

    await same(scenario, place, usual=None)


async def test_a_pipeline_and_the_calls_of_its_steps(place: str) -> None:
    async def double(value: int) -> int:
        return 2 * value

    whole = pipeline(
        "whole",
        "Doubles twice.",
        [step("double", "$value", as_="first"), step("double", "$first", as_="second")],
        inputs={"value": int},
        result={"first": "$first", "second": "$second"},
    )

    async def scenario(start: Open) -> Any:
        world = await start(double)
        world.hub.registry.register_batch("", [whole])
        seen = [await world.call("double", 1), await world.call("whole", 3), await world.call("whole", "x")]
        return seen, world.counts("double"), world.counts("whole")

    await same(scenario, place)


async def test_sizes_of_requests_and_answers(place: str) -> None:
    async def echo(value: Any) -> Any:
        return value

    async def repeat(value: str, times: int) -> str:
        return value * times

    async def power(bits: int) -> int:
        return int(2**bits)

    async def scenario(start: Open) -> Any:
        world = await start(echo, repeat, power, max_message_bytes=2_000)
        seen = [await world.call("echo", "x" * size) for size in (10, 1_800, 1_899, 1_900, 2_000, 2_100, 6_000)]
        seen += [await world.call("repeat", "x", times) for times in (60, 1_990, 2_001, 5_000, 10_000)]
        return [*seen, *[await world.call("power", bits) for bits in (60, 70, 500, 6_000, 8_000, 50_000)]]

    seen = await same(scenario, place)
    assert any("MessageTooLarge" in str(item) for item in seen[0])


async def test_large_answers_to_usual_requests(place: str) -> None:
    async def many(size: int, kind: str) -> Any:
        item: Any = {"str": "ü", "bytes": b"\xff", "list": [None]}[kind]
        return item * size

    async def scenario(start: Open) -> Any:
        world = await start(many)
        sizes = (4_050, 4_096, 16_384, 65_480, 65_536, 70_000, 300_000, 2_000_000)
        seen = [await world.call("many", size, kind) for size in sizes for kind in ("str", "bytes")]
        seen += [await world.call("many", size, "list") for size in sizes[:5]]
        return [(kind, hashlib.sha256(text.encode()).hexdigest()) for kind, text in seen], world.counts("many")

    await same(scenario, place)


async def test_a_client_s_own_limit(place: str) -> None:
    async def echo(value: Any) -> Any:
        return value

    async def scenario(start: Open) -> Any:
        world = await start(echo, client={"max_message_bytes": 5_000})
        return [await world.call("echo", "x" * size) for size in (10, 800, 900, 1_000, 4_000, 4_900, 5_100)]

    await same(scenario, place)
