# ruff: noqa: E501 - docstrings in tables
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.tools.docstrings import read_docstring

GOOGLE = """Adds.

Slowly.

Args:
    a: the first
    *rest: others

Returns:
    the sum
"""
NUMPY = """Adds.

Slowly.

Parameters
----------
a : int
    the first
*rest
    others

Returns
-------
int
    the sum
"""
REST = """Adds.

Slowly.

:param a: the first
:param rest: others
:returns: the sum
"""
EPYTEXT = """Adds.

Slowly.

@param a: the first
@type a: int
@param rest: others
@return: the sum
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST, EPYTEXT], ids=["google", "numpy", "rest", "epytext"])
def test_the_four_styles_are_read(text: str) -> None:
    doc = read_docstring(text)
    assert doc.description == "Adds.\n\nSlowly."
    assert doc.arguments == {"a": "the first", "rest": "others"}
    assert doc.result == "the sum"


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("Adds two numbers\nand returns their sum.", "Adds two numbers and returns their sum."),
        ("Adds two numbers\nand returns their sum.\n\nMore\nof it.", "Adds two numbers and returns their sum.\n\nMore\nof it."),
        ("Modes:\n- fast\n- slow", "Modes:\n- fast\n- slow"),
        ("Adds.\n\n:warning: be careful\n\nMore.\n\n:param a: first", "Adds.\n\n:warning: be careful\n\nMore."),
        (":warning: be careful\n\nMore.", ":warning: be careful\n\nMore."),
        ('Sends {"a": 1}.\n\n:json: {"b": 2}\n\nArgs:\n    a: x', 'Sends {"a": 1}.\n\n:json: {"b": 2}'),
        ("At 12:30: go.\n:00 stays", "At 12:30: go.\n:00 stays"),
        ("Adds.\n\n.. note:: slow\n\nTail.\n\n:param a: x", "Adds.\n\n.. note:: slow\n\nTail."),
        ("Adds.\n\n:raises ValueError: bad\n    very bad\n:param a: x", "Adds.\n\n:raises ValueError: bad\n    very bad"),
        ("Adds.\n\n@note: slow\n@param a: x", "Adds.\n\n@note: slow"),
        ("Runs.\n\nExample::\n\n    x = 1\n    :foo: y\n\nAfter.", "Runs.\n\nExample::\n\n    x = 1\n    :foo: y\n\nAfter."),
        ("Runs.\n\n```python\n:param a: x\nArgs:\n    b: c\n```", "Runs.\n\n```python\n:param a: x\nArgs:\n    b: c\n```"),
        ("Runs.\n\nArgs:\n    q: the query\n\nAfter.", "Runs.\n\nAfter."),
        ("Runs.\n\nArgs:\n    Any of these.\n    q: the query", "Runs.\n\nAny of these."),
        ("Runs.\n\nArgs:\n    nothing that is one", "Runs.\n\nArgs:\n    nothing that is one"),
        ("Runs.\n\nReturns: the sum", "Runs.\n\nReturns: the sum"),
        ("Adds.\n\n:param: broken", "Adds.\n\n:param: broken"),
    ],
)  # fmt: skip
def test_what_is_about_no_argument_stays_in_the_description(text: str, description: str) -> None:
    assert read_docstring(text).description == description


@pytest.mark.parametrize("title", ["Raises", "Example", "Examples", "Note", "Notes", "Warning", "Attributes", "Todo"])
def test_other_sections_stay_in_the_description_as_they_are_written(title: str) -> None:
    google = f"{title}:\n    ValueError: bad\n\n    >>> add(1)\n    1"
    numpy = f"{title}\n{'-' * len(title)}\nValueError\n    bad"
    doc = read_docstring(f"Adds.\n\nArgs:\n    a: first\n\n{google}\n\nReturns:\n    the sum")
    assert (doc.description, doc.arguments, doc.result) == (f"Adds.\n\n{google}", {"a": "first"}, "the sum")
    doc = read_docstring(
        f"Adds.\n\nParameters\n----------\na : int\n    first\n\n{numpy}\n\nReturns\n-------\nint\n    the sum"
    )
    assert (doc.description, doc.arguments, doc.result) == (f"Adds.\n\n{numpy}", {"a": "first"}, "the sum")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("F.\n\nArgs:\n    a (int): first\n    b (int, optional): second. Defaults to 3.", {"a": "first", "b": "second. Defaults to 3."}),
        ("F.\n\nArgs:\n    a: first\n        goes on: here\n\n        - a list\n    b: second", {"a": "first\ngoes on: here\n\n- a list", "b": "second"}),
        ("F.\n\nArguments:\n  a:\n      first\n  b -- second", {"a": "first", "b": "second"}),
        ("F.\n\nArgs:\n    a, b: numbers\n    **rest: others", {"a": "numbers", "b": "numbers", "rest": "others"}),
        ("F.\n\nKeyword Args:\n    a: first\n\nOther Parameters:\n    b: second", {"a": "first", "b": "second"}),
        ("F.\n\nParameters\n----------\na, b : int\n    a number\nc : dict of {str: int}, optional\n    a map\n\n    of two paragraphs", {"a": "a number", "b": "a number", "c": "a map\n\nof two paragraphs"}),
        ("F.\n\n:param int a: first\n    goes on\n:type b: int\n:param b: second\ngoes on", {"a": "first\ngoes on", "b": "second\ngoes on"}),
        ("F.\n\n:arg a: first\n:keyword b: second", {"a": "first", "b": "second"}),
        ("F.\n\nArgs:\n    a: first\n\n:param b: second", {"a": "first", "b": "second"}),
    ],
)  # fmt: skip
def test_arguments_have_the_whole_of_their_text(text: str, arguments: dict[str, str]) -> None:
    doc = read_docstring(text)
    assert doc.arguments == arguments
    assert doc.description == "F."


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("F.\n\nReturns:\n    int: the sum\n        of all", "the sum\n    of all"),
        ("F.\n\nReturns:\n    dict[str, list[int]] | None: the sums", "the sums"),
        ("F.\n\nReturns:\n    A dict with the keys: a, b.", "A dict with the keys: a, b."),
        ("F.\n\nYields:\n    the next number", "the next number"),
        ("F.\n\nReturns\n-------\nthe sum", "the sum"),
        ("F.\n\n:return: the sum\n    of all\n:rtype: int", "the sum\nof all"),
    ],
)
def test_the_result_has_the_whole_of_its_text(text: str, result: str) -> None:
    doc = read_docstring(text)
    assert (doc.description, doc.result) == ("F.", result)


def test_no_docstring_is_an_empty_description() -> None:
    assert read_docstring("") == read_docstring("   ")
    assert read_docstring("").description == ""


@given(
    st.lists(
        st.sampled_from(
            ["Adds.", "Args:", "    a: b", "    words", ":param a: b", "Returns:", "Parameters", "----", "@param", "", "x",
             "```", "Note:", ":warning: w", "  deep"]
        )
    )
)  # fmt: skip
def test_no_word_of_a_docstring_gets_lost(lines: list[str]) -> None:
    doc = read_docstring("\n".join(lines))
    told = " ".join([doc.description, *doc.arguments, *doc.arguments.values(), doc.result])
    for word in ("Adds.", "words", "Note:", ":warning:", "deep"):
        assert (word in told) == any(word in line for line in lines), word
