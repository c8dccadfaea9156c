"""How an argument is given."""

import inspect

import pytest

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec
from grpc_tool_bridge.tools.argument_kinds import kind_of, stars_of
from grpc_tool_bridge.tools.tool import tool


def declared(first: int, /, second: int, *rest: int, third: int, **others: int) -> None: ...


def test_the_spec_of_a_function_says_what_the_function_says() -> None:
    kinds = {argument.name: kind_of(argument) for argument in tool(declared).spec.arguments}
    assert kinds == {name: item.kind for name, item in inspect.signature(declared).parameters.items()}
    stars = {argument.name: stars_of(argument) for argument in tool(declared).spec.arguments}
    assert stars == {"first": "", "second": "", "rest": "*", "third": "", "others": "**"}


@pytest.mark.parametrize("rules", [[], ["ge 1"], ["of a later version"]])
def test_other_rules_do_not_change_it(rules: list[str]) -> None:
    argument = ArgumentSpec(name="a")
    argument.validation.custom_rules.extend(rules)
    assert kind_of(argument) is inspect.Parameter.POSITIONAL_OR_KEYWORD
