"""The text of a module of stubs."""

import ast
import inspect
import random
import sys
import types
from collections.abc import AsyncIterator
from typing import Any, get_type_hints

import pytest

from grpc_tool_bridge import ToolSpec, tool
from grpc_tool_bridge.client.stub_text import stub_module
from grpc_tool_bridge.tools.external import external_tool
from unit.client.stub_specs import SPECS

EXPECTED = '''"""The tools of a hub as methods with types.

Written by ``grpc-tool-bridge stubs``, which also tells whether it is up to date: do not edit it.
"""

# The values that a hub sends have the types that its tools declare; no type checker sees that.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import AsyncIterator

from grpc_tool_bridge.client.typed import OMITTED, TypedTools


class ToolsApiNumbers(TypedTools):
    """The tools whose names begin with ``numbers.``."""

    def count(self, n: int, *, from_: int = 0) -> AsyncIterator[int]:
        """Counts.

        Args:
            from_: Where to begin.
        """
        return self._stream("numbers.count", (n,), {"from": from_})


class ToolsApi(TypedTools):
    """The tools of a session."""

    async def add(self, a: int, b: int = 1, c: list[int] = OMITTED) -> int:
        """Adds two numbers.

        Args:
            a: The first number.

        Returns:
            The sum.
        """
        return await self._call("add", (a,), {"b": b, "c": c})

    @property
    def numbers(self) -> ToolsApiNumbers:
        """The tools whose names begin with ``numbers.``."""
        return self._nested(ToolsApiNumbers)
'''


@tool
def add(a: int, b: int = 1, c: list[int] = []) -> int:  # noqa: B006 - a default like a user's
    """Adds two numbers.

    Args:
        a: The first number.

    Returns:
        The sum.
    """
    return a + b


@tool(name="numbers.count")
async def count(n: int, *, start: int = 0) -> AsyncIterator[int]:
    """Counts."""
    yield n + start


def usual() -> list[ToolSpec]:
    spec = ToolSpec.FromString(count.spec.SerializeToString())
    spec.arguments[1].name = "from"
    spec.arguments[1].description = "Where to begin."
    spec.input_schema = spec.input_schema.replace('"start"', '"from"')
    return [add.spec, spec]


def module(text: str) -> types.ModuleType:
    """Runs the text of a module."""
    made = types.ModuleType("stubs_of_a_test")
    sys.modules[made.__name__] = made
    try:
        exec(compile(text, "stubs.py", "exec", dont_inherit=True), made.__dict__)
        for value in vars(made).values():
            if isinstance(value, type) and value.__module__ == made.__name__:
                get_type_hints(value)
                for method in vars(value).values():
                    if inspect.isfunction(method):
                        get_type_hints(method)
    finally:
        del sys.modules[made.__name__]
    return made


def test_each_tool_is_a_method_with_its_types_its_defaults_and_its_docstring() -> None:
    assert stub_module(usual()) == EXPECTED


def test_blocking_methods_are_no_coroutines_and_a_class_has_the_name_that_is_asked_for() -> None:
    text = stub_module(usual(), class_name="Hub", blocking=True)
    assert "class Hub(BlockingTools):" in text
    assert "class HubNumbers(BlockingTools):" in text
    assert "    def add(self, a: int, b: int = 1, c: list[int] = OMITTED) -> int:" in text
    assert "    def count(self, n: int, *, from_: int = 0) -> Iterator[int]:" in text
    assert "await" not in text


@pytest.mark.parametrize("blocking", [False, True])
def test_any_names_types_and_texts_give_a_module_that_runs_and_has_a_method_for_each_tool(blocking: bool) -> None:
    text = stub_module(SPECS, blocking=blocking)
    made = module(text)
    called = [
        str(node.args[0].value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("_call", "_stream")
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(called) == sorted(spec.name for spec in SPECS)
    imports = {name.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names}
    assert imports == {"builtins"}
    assert "import os" not in [line.strip() for line in text.splitlines() if '"""' in line]
    assert all(len(line) <= 120 or line.endswith("# noqa: E501") for line in text.splitlines())
    api: Any = made.ToolsApi
    assert str(inspect.signature(api.many)).count(":") == 5
    assert {"class_", "get_page", "get_page_2", "init", "property_", "with_options_", "tool_1x"} <= set(dir(api))


def test_the_order_of_the_tools_makes_no_difference() -> None:
    shuffled = list(SPECS)
    random.Random(1).shuffle(shuffled)
    assert stub_module(shuffled) == stub_module(SPECS)


def test_a_tool_of_which_only_the_schema_is_known_takes_its_arguments_by_name() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]%s}'
    closed = ToolSpec(name="closed", input_schema=schema % ', "additionalProperties": false')
    text = stub_module([ToolSpec(name="open", input_schema=schema % ""), closed, ToolSpec(name="unknown")])
    assert "async def closed(self, *, a: int, b: Any = OMITTED) -> Any:" in text
    assert "async def open(self, *, a: int, b: Any = OMITTED, **others: Any) -> Any:" in text
    assert "async def unknown(self, **others: Any) -> Any:" in text


def test_hidden_tools_and_older_versions_have_no_method_and_a_deprecated_one_is_marked() -> None:
    def spec(**options: Any) -> ToolSpec:
        def add(a: int) -> int:
            return a

        return tool(**options)(add).spec

    older, newest = spec(version="1.9"), spec(version="1.10", deprecated="use plus")
    listed = spec(version="1.9")
    listed.name = "add@1.9"
    alone = stub_module([newest])

    assert '@deprecated("use plus")' in alone
    assert stub_module([older, newest, spec(name="reset", hidden=True)]) == alone
    assert stub_module([newest, older]) == alone
    assert stub_module([listed, newest]) == alone


def test_methods_of_grpc_services_have_the_types_of_their_messages() -> None:
    number = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    data = {"type": "string", "contentEncoding": "base64"}
    properties = {
        "data": data,
        "real": number,
        "when": {"type": "string", "format": "date-time"},
        "by_number": {"type": "object", "additionalProperties": data, "propertyNames": {"pattern": "^-?[0-9]+$"}},
        "by_truth": {"type": "object", "additionalProperties": number, "propertyNames": {"pattern": "^(true|false)$"}},
        "anything": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    known = external_tool("take", "", run, input_schema=schema, output_schema=schema)
    known.spec.metadata["grpc.method"] = "p.S.Take"
    text = stub_module([known.spec])
    types = {
        "data": "bytes", "real": "float", "when": "str", "by_number": "dict[int, bytes]",
        "by_truth": "dict[bool, float]", "anything": "dict[str, Any]",
    }  # fmt: skip
    for name, expected in types.items():
        # As an argument, and as a key of the result.
        assert text.count(f"{name}: {expected}") == 2, name
    del known.spec.metadata["grpc.method"]
    assert "data: str" in stub_module([known.spec])


async def run(arguments: dict[str, Any], context: Any) -> Any:
    raise NotImplementedError
