import functools
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import pytest

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolType
from grpc_tool_bridge.tools import tool as module
from grpc_tool_bridge.tools.options import ToolOptions
from grpc_tool_bridge.tools.tool import Tool, as_tool, tool


def f(items: list[str]) -> list[str]:
    return items


def stream(items: list[str]) -> Iterator[str]:
    yield from items


async def later() -> None: ...


class Methods:
    def bound(self) -> None: ...

    def __call__(self) -> None: ...

    @staticmethod
    def static() -> None: ...


def made(function: Any = f, **options: Any) -> Tool:
    return tool(**options)(function)


def test_help_type_checkers_and_the_options_have_the_same_ones_with_the_same_defaults() -> None:
    shown = {
        name: parameter.default for name, parameter in inspect.signature(tool).parameters.items() if name != "function"
    }
    assert shown == {item.name: item.default for item in fields(ToolOptions)}
    assert list(module._Options.__annotations__) == list(shown)


class TestNames:
    @pytest.mark.parametrize("name", ["a", "A-z.0_9", "x" * 128])
    def test_good_ones_are_taken(self, name: Any) -> None:
        spec = made(name=name, tool_id=name).spec
        assert (spec.name, spec.tool_id) == (name, name)

    @pytest.mark.parametrize("name", ["", "x" * 129, "a b", "ä", "a/b", "a\n"])
    @pytest.mark.parametrize("option", ["name", "tool_id"])
    def test_others_are_refused(self, option: Any, name: Any) -> None:
        with pytest.raises(ValueError, match=f"a tool's {option} must be 1 to 128 letters"):
            made(**{option: name})

    def test_a_name_that_is_no_text_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a tool's name must be text, not 5"):
            made(name=5)

    def test_the_id_is_the_name_unless_set(self) -> None:
        assert made(name="n").spec.tool_id == "n"


class TestType:
    def test_a_batch_tool_takes_a_list(self) -> None:
        def loose(items: Any) -> None: ...

        def sequence(items: Sequence[int]) -> None: ...

        def optional(items: list[int] = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013 - what is tested

        for function in (f, loose, sequence, optional):
            assert made(function, type=ToolType.BATCH).spec.type == ToolType.BATCH

    def test_a_batch_tool_that_takes_none_is_refused(self) -> None:
        def number(item: int) -> None: ...

        def named(*, items: list[int]) -> None: ...

        for function in (number, named, later):
            with pytest.raises(ValueError, match="a BATCH tool takes a list as its first parameter"):
                made(function, type=ToolType.BATCH)

    @pytest.mark.parametrize(
        ("function", "asked"),
        [(f, ToolType.STREAMING), (stream, ToolType.STANDARD), (stream, ToolType.BATCH), (f, ToolType.COMPOSITE)],
    )
    def test_one_that_the_function_is_not_is_refused(self, function: Any, asked: Any) -> None:
        with pytest.raises(ValueError, match=f"type {ToolType.Name(asked)} does not match"):
            made(function, type=asked)

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="17 is not a tool type"):
            made(type=17)

    def test_saying_what_is_so_is_allowed(self) -> None:
        assert made(stream, type=ToolType.STREAMING).is_stream


class TestExecutor:
    def test_an_async_function_in_a_thread_is_refused(self) -> None:
        with pytest.raises(ValueError, match="later: an async function runs on the event loop"):
            made(later, executor="thread")

    def test_an_async_function_in_a_process_is_refused(self) -> None:
        with pytest.raises(ValueError, match="later: an async function runs on the event loop; omit executor"):
            made(later, executor="process")

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="executor must be 'async', 'thread' or 'process', not 'fiber'"):
            made(executor="fiber")

    def test_what_a_process_could_not_find_is_refused_with_the_reason(self) -> None:
        def inner() -> None: ...

        for function, what in (
            (inner, "a function inside a function"),
            (lambda: 1, "a lambda"),
            (Methods().bound, "a method, which needs its instance,"),
            (Methods.bound, "a method, which needs its instance,"),
            (Methods(), "a Methods object"),
            (functools.partial(f, []), "a partial object"),
        ):
            with pytest.raises(ValueError, match=f"n: a process finds a function by .* so {what} cannot run"):
                made(function, name="n", executor="process")

    def test_a_partial_of_a_process_tool_is_refused_too(self) -> None:
        with pytest.raises(ValueError, match="a partial object cannot run in one"):
            as_tool(functools.partial(made(executor="process"), []))

    def test_each_is_taken_where_it_fits(self) -> None:
        assert made(executor="thread").executor == "thread"
        assert made(executor="process").executor == "process"
        assert made(stream, executor="process").executor == "process"
        assert made(Methods.static, executor="process").executor == "process"
        assert made(stream, executor="async").executor == "async"
        assert made(later, executor="async").executor == "async"


class TestLimits:
    def test_a_mapping_and_a_message_do_the_same(self) -> None:
        limits = {"timeout_ms": 1, "max_memory_bytes": 2**40, "max_concurrent_calls": 3, "rate_limit_per_minute": 0}
        assert made(limits=limits).spec.limits == made(limits=ResourceLimits(**limits)).spec.limits
        assert made(limits=limits).spec.limits.max_memory_bytes == 2**40

    def test_none_leaves_them_unset(self) -> None:
        assert not made().spec.HasField("limits")

    @pytest.mark.parametrize("limits", [{"timeout_ms": -1}, ResourceLimits(timeout_ms=-1)])
    def test_negative_ones_are_refused(self, limits: Any) -> None:
        with pytest.raises(ValueError, match="f: the limit timeout_ms must not be negative"):
            made(limits=limits)

    def test_unknown_ones_are_refused_with_the_known(self) -> None:
        with pytest.raises(ValueError, match="'timeout' is not a limit; the limits are timeout_ms, max_memory"):
            made(limits={"timeout": 1})

    @pytest.mark.parametrize("value", [1.5, "1", True, None])
    def test_others_than_whole_numbers_are_refused(self, value: Any) -> None:
        with pytest.raises(TypeError, match="the limit timeout_ms must be a whole number"):
            made(limits={"timeout_ms": value})

    def test_one_too_large_for_the_wire_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the limit timeout_ms is too large"):
            made(limits={"timeout_ms": 2**31})


class TestTexts:
    def test_they_reach_the_spec(self) -> None:
        spec = made(description="d", version="1", examples=["f()"], metadata={"k": "v"}).spec
        assert (spec.description, spec.version, list(spec.examples), dict(spec.metadata)) == (
            "d", "1", ["f()"], {"k": "v"},
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"description": 5}, "f: description must be text, not 5"),
            ({"version": 2}, "f: version must be text, not 2"),
            ({"examples": "f()"}, "f: examples must be a list of texts"),
            ({"examples": [1]}, "f: an example must be text, not 1"),
            ({"metadata": {"k": 1}}, r"f: metadata\['k'\] must be text, not 1"),
            ({"metadata": {1: "v"}}, "f: a key of metadata must be text, not 1"),
        ],
    )
    def test_others_are_refused(self, options: Any, text: Any) -> None:
        with pytest.raises(TypeError, match=text):
            made(**options)
