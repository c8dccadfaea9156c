"""Python source as text: it says what it was made of, and fits on the lines."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.client.stub_source import WIDTH, call, docstring, literal, quoted


@given(st.text())
def test_any_text_is_a_literal_that_reads_as_it_is(text: str) -> None:
    made = quoted(text)
    assert ast.literal_eval(made) == text
    assert made.isprintable()


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\t\n\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029")))
def test_any_line_is_a_docstring_that_reads_as_it_is(text: str) -> None:
    lines = docstring(text, "    ")
    function = ast.parse("\n".join(["def f():", *lines])).body[0]
    assert isinstance(function, ast.FunctionDef)
    found = ast.get_docstring(function)
    assert " ".join((found or "").split()) == " ".join(text.split())
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("text", ['a"', 'a"""', "a\\", '\\"', '"""', "a\nb\\", 'a\nb"', '" + "'])
def test_a_docstring_ends_where_it_should(text: str) -> None:
    source = "\n".join(docstring(text))
    assert str(ast.literal_eval(source)).strip() == text


def test_a_paragraph_that_is_too_long_is_wrapped_and_the_others_are_left_as_they_are() -> None:
    words = "word " * 40
    text = f"Short.\n\n{words}\nfollows.\n\nArgs:\n    a: {words}\n        follows.\n    b: Short.\n\n- item\n- item"
    lines = docstring(text, "    ")
    assert all(len(line) <= WIDTH for line in lines)
    starts = [line[:20].strip() for line in lines]
    assert starts[:3] == ['"""Short.', "", "word word word w"]
    assert lines[-5:] == ["        b: Short.", "", "    - item", "    - item", '    """']
    entry = next(place for place, line in enumerate(lines) if line.startswith("        a: word"))
    assert lines[entry + 1].startswith("            word")
    assert " ".join(" ".join(lines).split()).count("word follows.") == 2


def test_what_does_not_fit_on_a_line_is_on_several() -> None:
    assert call("f(", ["a", "b"], ")", "  ") == ["  f(a, b)"]
    assert call("f(", [], ")") == ["f()"]
    assert call("f(", ["a" * 70, "b" * 70], ")", " ") == [" f(", f"     {'a' * 70},", f"     {'b' * 70},", " )"]
    assert call("f(", ["a", "{\n    1,\n}"], ")") == ["f(", "    a,", "    {", "        1,", "    },", ")"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-5, "-5"),
        (1.5, "1.5"),
        ("it's", '"it\'s"'),
        ('a "b"', "'a \"b\"'"),
        ("\n", '"\\n"'),
        (float("nan"), None),
        (float("-inf"), None),
        (10**100, None),
        ("x" * 100, None),
        ([1], None),
        (b"x", None),
        (..., None),
    ],
)
def test_a_short_plain_value_is_a_literal(value: object, text: str | None) -> None:
    assert literal(value) == text
