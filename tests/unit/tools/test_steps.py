"""Declarations of pipelines: written as data, read again, and refused where they cannot be run."""

from typing import Any

import pytest

from grpc_tool_bridge.tools.steps import (
    MAX_DECLARATION_BYTES,
    Declaration,
    Part,
    check_declaration,
    each,
    parallel,
    read_declaration,
    step,
    tools_of,
    write_declaration,
)


def test_a_declaration_is_short_json_and_the_same_when_it_is_read_again() -> None:
    parts: list[Part] = [
        step("a", "$x", as_="one"),
        parallel(step("b"), each("$x", step("c", n="$item"), max_concurrency=2)),
    ]
    declaration = Declaration(parts, {"all": "$last"})

    text = write_declaration(declaration)

    assert text == (
        '{"steps":[{"kind":"step","tool":"a","args":["$x"],"as":"one"},'
        '{"kind":"parallel","steps":[{"kind":"step","tool":"b"},'
        '{"kind":"each","over":"$x","step":{"kind":"step","tool":"c","kwargs":{"n":"$item"}},"max_concurrency":2}]}],'
        '"result":{"all":"$last"}}'
    )
    assert read_declaration(text) == declaration
    assert [tools_of(part) for part in parts] == [["a"], ["b", "c"]]


def test_a_tool_may_have_a_parameter_that_is_called_tool() -> None:
    assert step("run", tool="hammer").kwargs == {"tool": "hammer"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `steps`"),
        ('{"steps":[{"kind":"step"}]}', "missing required field `tool`"),
        ('{"steps":[{"kind":"stop","tool":"a"}]}', "Invalid value 'stop'"),
        ('{"steps":[{"kind":"step","tool":"a","arg":[]}]}', "unknown field `arg`"),
        ('{"steps":[{"kind":"step","tool":5}]}', "Expected `str`, got `int`"),
        (
            '{"steps":[{"kind":"step","tool":"a","args":' + "[" * 20_000 + "]" * 20_000 + "}]}",
            "nested (too deep|deeper)",
        ),
        (" " * (MAX_DECLARATION_BYTES + 1), "65,537 bytes, the limit is 65,536"),
    ],
)
def test_json_that_is_no_declaration_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        # From Python 3.14 on, what is nested deep can be read.
        check_declaration(read_declaration(text), {})


def test_each_step_knows_the_inputs_and_what_came_before() -> None:
    check_declaration(
        Declaration(
            [
                step("a", "$x", as_="one"),
                parallel(step("b", "$one", "$last", as_="two"), step("c", "$x")),
                each(["$one", "$two"], step("d", "$item", "$last"), as_="four"),
            ],
            ["$four", "$two.0"],
        ),
        ["x"],
    )


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([], "it has no steps"),
        ([step("a", "$last")], r"step 1 \(a\): '\$last' is not defined here; defined names: '\$x'$"),
        ([step("a"), step("b", "$pge")], r"step 2 \(b\): '\$pge' is not defined here; defined names: '\$x', '\$last'$"),
        ([step("a", key={"k": ["$pge"]})], r"step 1 \(a\): '\$pge' is not defined"),
        ([step("a", "$item")], r"'\$item' is not defined here"),
        ([parallel(step("a", as_="one"), step("b", "$one"))], r"step 1\.2 \(b\): '\$one' is not defined here"),
        ([parallel()], r"step 1: parallel\(\) has no steps"),
        ([each("$y", step("a"))], r"step 1 \(each a\): '\$y' is not defined here"),
        ([each("x", step("a"))], "it must iterate over a list or a reference to one, not 'x'"),
        ([each("$x", step("a"), max_concurrency=0)], "max_concurrency must be at least 1, not 0"),
        ([each("$x", step("a", as_="one"))], r"give as_ to each\(\), not to its step"),
        ([step("a b")], "step 1: 'a b' is not a tool's id"),
        ([step("a", as_="x")], "step 1: there is already a 'x'"),
        ([step("a", as_="one"), step("a", as_="one")], "step 2: there is already a 'one'"),
        ([parallel(step("a", as_="one"), step("b", as_="one"))], "step 1: there is already a 'one'"),
        ([step("a", as_="last")], "step 1: the name 'last' is reserved"),
        ([step("a", as_="a.b")], "step 1: 'a.b' is not a name; a name has letters"),
    ],
)
def test_a_step_that_cannot_run_is_named(parts: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_declaration(Declaration(parts), ["x"])


def test_a_result_that_refers_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the result: '\$one' is not defined here; defined names: '\$x', '\$last'"):
        check_declaration(Declaration([step("a")], ["$one"]), ["x"])


@pytest.mark.parametrize("wrong", ["fetch", each("$x", "fetch"), parallel("fetch")])  # type: ignore[arg-type]
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"is not a step\(\), each\(\) or parallel\(\)"):
        check_declaration(Declaration([wrong]), ["x"])


def test_the_old_name_of_max_concurrency_is_read_and_never_written() -> None:
    with pytest.warns(DeprecationWarning, match="^at_once is deprecated; use max_concurrency$"):
        made = each("$x", step("a", "$item"), at_once=3)
    assert made == each("$x", step("a", "$item"), max_concurrency=3)
    old = '{"steps":[{"kind":"each","over":"$x","step":{"kind":"step","tool":"a","args":["$item"]},"at_once":3}]}'
    declaration = read_declaration(old)
    assert declaration.steps == [made]
    assert '"max_concurrency":3' in write_declaration(declaration)
    assert "at_once" not in write_declaration(declaration)
