import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, OnErrorOmit, field_validator, model_validator

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.tools.binding import Binder
from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.signatures import read_signature


def binder(function: Callable[..., Any]) -> Binder:
    signature = read_signature(function, "add")
    return Binder("add", signature, {p.name: compile_check(p.annotation, p.name) for p in signature.parameters})


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    bound_args, bound_kwargs = binder(function).bind(args, kwargs)
    return function(*bound_args, **bound_kwargs)


def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        binder(function).bind(args, kwargs)
    return caught.value


def add(a: int, b: int = 2) -> tuple[int, int]:
    return a, b


NOTHING: dict[Any, int] = {}


class Model(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def _checked(cls, x: int) -> int:
        return NOTHING[x]


class Before(BaseModel):
    x: int

    @model_validator(mode="before")
    @classmethod
    def _checked(cls, given: Any) -> Any:
        return given["y"]


class PostInit(BaseModel):
    x: int

    def model_post_init(self, _: Any, /) -> None:
        raise TypeError("no")


class Init(BaseModel):
    x: int

    def __init__(self, **fields: Any) -> None:
        raise RuntimeError("no")


@dataclass
class Plain:
    x: int

    def __post_init__(self) -> None:
        raise AttributeError("no")


@attrs.define
class Attr:
    x: int = attrs.field(validator=lambda *_: NOTHING["no"])


def failing(_: Any) -> Any:
    raise ZeroDivisionError("no")


FAULTS: list[tuple[Any, Any, str]] = [
    (Model, {"x": 1}, "KeyError: 1"),
    (list[Model], [{"x": 1}], "KeyError: 1"),
    (Before, {"x": 1}, "KeyError: 'y'"),
    (PostInit, {"x": 1}, "TypeError: no"),
    (Init, {"x": 1}, "RuntimeError: no"),
    (Plain, {"x": 1}, "AttributeError: no"),
    (Attr, {"x": 1}, "KeyError: 'no'"),
    (Annotated[int, BeforeValidator(failing)], 1, "ZeroDivisionError: no"),
    (Annotated[int, AfterValidator(failing)], 1, "ZeroDivisionError: no"),
    (OnErrorOmit[int], "x", "SchemaError"),
]


def starred(a: int, *rest: int, key: str = "k", **options: float) -> tuple[Any, ...]:
    return a, rest, key, options


@pytest.mark.parametrize(("annotation", "value", "raised"), FAULTS, ids=str)
def test_what_a_validator_raises_is_told_as_what_is_wrong_with_its_argument(
    annotation: Any, value: Any, raised: str
) -> None:
    def by_name(value: Any, other: int = 1) -> None: ...

    def many(*values: Any, **others: Any) -> None: ...

    by_name.__annotations__["value"] = annotation
    many.__annotations__ |= {"values": annotation, "others": annotation}
    wrong = f"cannot be read ({raised}"
    for error in (refused(by_name, value), refused(by_name, value=value), refused(by_name, value, "x")):
        assert error.details["value"].startswith(wrong)
    assert refused(by_name, value, "x").details["other"].startswith("should be a valid integer")
    assert wrong in refused(many, value).details["values"]
    assert refused(many, other=value).details["other"].startswith(wrong)


def test_a_default_that_cannot_be_made_is_told_of_its_argument() -> None:
    def by_name(a: int, value: Annotated[int, Field(default_factory=lambda: failing(1))]) -> None: ...

    def by_position(a: int, value: Annotated[int, Field(default_factory=lambda: failing(1))], /) -> None: ...

    for function in (by_name, by_position):
        assert "ZeroDivisionError: no" in refused(function, 1).details["value"]
        assert call(function, 1, 2) is None


class TestGood:
    @pytest.mark.parametrize(
        ("args", "kwargs"), [((1, 5), {}), ((1,), {"b": 5}), ((), {"a": 1, "b": 5}), ((), {"b": 5, "a": 1})]
    )
    def test_arguments_arrive_by_position_and_by_name(self, args: Any, kwargs: Any) -> None:
        assert call(add, *args, **kwargs) == (1, 5)

    def test_a_default_is_left_to_the_function(self) -> None:
        bound_args, bound_kwargs = binder(add).bind((1,), {})
        assert (list(bound_args), bound_kwargs) == ([1], {})

    def test_values_are_converted(self) -> None:
        def f(a: float, b: tuple[int, ...], *, c: set[str]) -> Any:
            return a, b, c

        assert call(f, 1, [1, 2], c=["x"]) == (1.0, (1, 2), {"x"})
        assert type(call(f, 1, b=[], c=[])[0]) is float

    def test_starred_parameters_take_what_is_left(self) -> None:
        assert call(starred, 1, 2, 3, key="x", y=1) == (1, (2, 3), "x", {"y": 1.0})

    def test_no_arguments_at_all(self) -> None:
        assert call(lambda: "done") == "done"

    def test_the_callers_containers_are_left_alone(self) -> None:
        def f(a: dict[str, float], *rest: list[float], **options: list[float]) -> None:
            a["new"] = 1.0
            rest[0].append(2.0)
            options["o"].append(3.0)

        args: list[Any] = [{"x": 1}, [1]]
        kwargs = {"o": [1]}
        call(f, *args, **kwargs)
        assert args == [{"x": 1}, [1]]
        assert kwargs == {"o": [1]}

    def test_the_callers_mapping_is_not_handed_to_the_function(self) -> None:
        kwargs = {"a": 1}
        assert binder(add).bind((), kwargs)[1] is not kwargs


class TestNamesForEverything:
    """A caller in another language has only the schema: it names every argument."""

    def test_positional_only_parameters_take_a_name(self) -> None:
        def f(a: int, b: int = 2, c: int = 3, /, d: int = 4) -> Any:
            return a, b, c, d

        assert call(f, 1) == (1, 2, 3, 4)
        assert call(f, a=1) == (1, 2, 3, 4)
        assert call(f, 1, c=5) == (1, 2, 5, 4)
        assert call(f, d=6, a=1) == (1, 2, 3, 6)

    def test_a_starred_parameter_takes_a_list_under_its_name(self) -> None:
        def f(a: int, b: int = 2, *rest: int) -> Any:
            return a, b, rest

        assert call(f, a=1, rest=[3, 4]) == (1, 2, (3, 4))
        assert call(f, 1, rest=()) == (1, 2, ())
        assert refused(f, 1, rest=5).details == {"rest": "should be a valid list, got 5 (int)"}
        assert refused(f, 1, 2, 3, rest=[4]).details == {"rest": "given twice, by position and by name"}
        assert refused(f, 1, rest=[1, "x"]).details == {"rest": "[1] should be a valid integer, got 'x' (str)"}

    def test_python_rules_where_further_names_are_taken(self) -> None:
        def f(a: int, /, *rest: int, **options: Any) -> Any:
            return a, rest, options

        assert call(f, 1, a=2) == (1, (), {"a": 2})
        assert call(f, 1, rest=[2]) == (1, (), {"rest": [2]})


class TestContext:
    def test_what_follows_the_context_goes_by_name(self) -> None:
        def f(a: int, ctx: ToolContext, b: int, c: int = 3) -> Any:
            return a, ctx, b, c

        args, kwargs = binder(f).bind((1, 2), {})
        assert f(*args, **kwargs, ctx="context") == (1, "context", 2, 3)  # type: ignore[misc,arg-type]  # the bridge adds it so
        assert binder(f).bind((1,), {"b": 2}) == ([1], {"b": 2})

    def test_a_context_at_the_front_or_the_end(self) -> None:
        def front(ctx: ToolContext, a: int) -> None: ...

        def end(a: int, *, ctx: ToolContext | None = None) -> None: ...

        assert binder(front).bind((1,), {}) == ([], {"a": 1})
        assert binder(end).bind((1,), {}) == ([1], {})

    def test_a_caller_cannot_give_it(self) -> None:
        def f(a: int, ctx: ToolContext, **options: Any) -> None: ...

        assert refused(f, 1, ctx="mine").details == {"ctx": "is filled in by the bridge; omit it"}


class TestWrong:
    def test_every_wrong_argument_is_named_at_once(self) -> None:
        def f(a: int, b: int, c: str) -> None: ...

        error = refused(f, "x", c=5, d=1)
        assert error.details == {
            "a": "should be a valid integer, got 'x' (str)",
            "b": "missing",
            "c": "should be a valid string, got 5 (int)",
            "d": "unknown, the tool takes 'a', 'b', 'c'",
        }
        assert str(error) == (
            "add: argument 'a': should be a valid integer, got 'x' (str); argument 'b': missing; "
            "argument 'c': should be a valid string, got 5 (int); argument 'd': unknown, the tool takes 'a', 'b', 'c'"
        )

    def test_arguments_are_told_in_the_order_of_the_signature(self) -> None:
        assert list(refused(add, b="x", z=1, a="y").details) == ["a", "b", "z"]

    def test_an_unknown_name_gets_a_hint(self) -> None:
        def f(query: str, *, limit: int = 3) -> None: ...

        assert refused(f, "x", limt=3).details == {"limt": "unknown, did you mean 'limit'?"}
        assert refused(f, "x", qqq=3).details == {"qqq": "unknown, the tool takes 'query', 'limit'"}
        assert refused(lambda: None, a=1).details == {"a": "unknown, the tool takes no arguments"}

    def test_hints_stop_where_there_are_many_unknown_names(self) -> None:
        details = refused(add, 1, **{f"bb{number}": 1 for number in range(50)}).details
        assert len(details) == 50
        assert details["bb49"] == "unknown"

    def test_an_argument_given_twice_is_refused(self) -> None:
        assert refused(add, 1, a=2).details == {"a": "given twice, by position and by name"}
        assert refused(add, 1, 2, b=2).details == {"b": "given twice, by position and by name"}

    def test_given_twice_does_not_stand_in_for_a_missing_one(self) -> None:
        def f(a: int, b: int) -> None: ...

        assert refused(f, 1, a=2).details == {"a": "given twice, by position and by name", "b": "missing"}

    def test_a_positional_only_argument_given_twice_is_refused(self) -> None:
        def f(a: int, /) -> None: ...

        assert refused(f, 1, a=1).details == {"a": "given twice, by position and by name"}

    def test_too_many_by_position_are_counted(self) -> None:
        error = refused(add, 1, "x", 3, 4)
        assert error.details == {
            "b": "should be a valid integer, got 'x' (str)",
            "*": "takes at most 2 arguments by position, got 4",
        }
        assert str(error).endswith("; takes at most 2 arguments by position, got 4")

    def test_starred_arguments_are_told_by_place_and_by_name(self) -> None:
        assert refused(starred, 1, 2, "x", "y", z="1").details == {
            "rest": "[1] should be a valid integer, got 'x' (str); [2] should be a valid integer, got 'y' (str)",
            "z": "should be a valid number, got '1' (str)",
        }

    def test_many_wrong_starred_arguments_are_cut_short(self) -> None:
        told = refused(starred, 1, *["x"] * 1000).details["rest"]
        assert told.count("should be") == 5
        assert told.endswith("; and more")

    def test_a_long_name_is_cut_in_the_message(self) -> None:
        assert len(str(refused(add, 1, **{"x" * 10_000: 1}))) < 200

    def test_missing_after_the_context(self) -> None:
        def f(ctx: ToolContext, a: int, b: int) -> None: ...

        assert refused(f, 1).details == {"b": "missing"}


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("is even")
    if value == 13:
        raise SystemExit
    return value


def shape_plain(a: Any, b: Any = 2, *, c: Any = 3) -> Any:
    return a, b, c


def shape_positional(a: Any, b: Any = 2, /, c: Any = 3) -> Any:
    return a, b, c


def shape_starred(a: Any, *rest: Any, c: Any = 3) -> Any:
    return a, rest, c


def shape_open(a: Any, b: Any = 2, /, *rest: Any, c: Any, **options: Any) -> Any:
    return a, b, rest, c, options


@given(
    function=st.sampled_from([shape_plain, shape_positional, shape_starred, shape_open]),
    args=st.lists(st.integers(), max_size=4),
    kwargs=st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers()),
)
def test_a_call_that_python_accepts_does_the_same_here(function: Any, args: Any, kwargs: Any) -> None:
    # The schema names every parameter, so "a" by name is the parameter here, where Python puts it into **options.
    assume(function is not shape_open or kwargs.keys().isdisjoint(["a", "b"][len(args) :]))
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        by_name = {"a", "b"} & kwargs.keys()
        if not by_name:
            assert refused(function, *args, **kwargs).details
    else:
        assert call(function, *args, **kwargs) == function(*args, **kwargs)


def shape_made(a: int, tags: Annotated[list[str], Field(default_factory=list)], b: float = 0.5) -> Any:
    return a, tags, b


def shape_odd(value: Annotated[int, AfterValidator(odd)], other: Annotated[str, Field(max_length=2)] = "") -> Any:
    return value, other


@given(
    function=st.sampled_from(
        [add, shape_plain, shape_positional, shape_starred, shape_open, starred, shape_made, shape_odd]
    ),
    args=st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()), max_size=4),
    kwargs=st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "key", "tags", "other", ""]),
        st.one_of(st.integers(), st.text(max_size=3), st.booleans()),
        max_size=3,
    ),
)
def test_what_is_tried_is_bound_as_by_bind_or_left_to_it(function: Any, args: Any, kwargs: Any) -> None:
    made = binder(function)
    tried = made.try_bind(args, kwargs)
    if tried is not None:
        assert repr(tried) == repr(made.bind(args, kwargs))


def test_a_call_is_not_tried_if_a_default_has_to_be_made() -> None:
    assert binder(shape_made).try_bind([1], {}) is None
    assert binder(shape_made).bind([1], {}) == ([1], {"tags": []})


@pytest.mark.parametrize(("args", "kwargs"), [(["x"], {}), ([2], {}), ([13], {}), ([], {}), ([1], {"value": 1})])
def test_what_cannot_be_bound_is_not_tried_to_its_end(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert binder(shape_odd).try_bind(args, kwargs) is None
    with pytest.raises(ValidationError):
        binder(shape_odd).bind(args, kwargs)


@given(
    args=st.lists(st.one_of(st.integers(), st.text(), st.none()), max_size=3),
    kwargs=st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text()), max_size=4),
)
def test_every_call_is_bound_or_refused_with_a_line_that_names_its_arguments(args: Any, kwargs: Any) -> None:
    good = all(type(value) is int for value in (*args, *kwargs.values()))
    try:
        inspect.signature(add).bind(*args, **kwargs)
    except TypeError:
        good = False
    if good:
        assert binder(add).bind(args, kwargs) == (args, kwargs)
    else:
        error = refused(add, *args, **kwargs)
        assert error.details
        assert "\n" not in str(error)
