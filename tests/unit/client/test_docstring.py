"""The docstring of a proxy, made of its tool's spec."""

from collections.abc import Iterator

from grpc_tool_bridge import ToolSpec, tool
from grpc_tool_bridge.client.docstring import docstring_of


def divide(a: int, *others: int, exact: bool = True, **notes: str) -> float:
    """Divides numbers.

    From left to right.

    Args:
        a: What is divided,
            over two lines.
        *others: What it is divided by.
        **notes: Kept.

    Returns:
        The quotient,
        as a float.

    Raises:
        ZeroDivisionError: One of them is 0.
    """
    del others, exact, notes
    return a


def count(n: int) -> Iterator[int]:
    """Counts.

    Yields:
        Each number.
    """
    yield n


def test_a_docstring_is_the_one_of_the_function_as_it_was_written() -> None:
    assert docstring_of(tool(divide).spec) == (
        "Divides numbers.\n"
        "\n"
        "From left to right.\n"
        "\n"
        "Args:\n"
        "    a: What is divided,\n"
        "        over two lines.\n"
        "    *others: What it is divided by.\n"
        "    **notes: Kept.\n"
        "\n"
        "Returns:\n"
        "    The quotient,\n"
        "    as a float.\n"
        "\n"
        "Raises:\n"
        "    ZeroDivisionError: One of them is 0."
    )


def test_a_stream_yields() -> None:
    assert docstring_of(tool(count).spec) == "Counts.\n\nYields:\n    Each number."


def test_a_tool_without_a_description_says_so_rather_than_show_the_docstring_of_its_class() -> None:
    assert docstring_of(ToolSpec(name="add")) == "add has no description."
    spec = ToolSpec(name="add", description="Raises:\n    ValueError: Always.")
    assert docstring_of(spec) == "add has no description.\n\nRaises:\n    ValueError: Always."


def test_the_docstring_of_a_deprecated_tool_says_first_what_to_use_instead() -> None:
    spec = tool(count, deprecated="use numbers").spec

    assert docstring_of(spec) == "Deprecated: use numbers\n\nCounts.\n\nYields:\n    Each number."
