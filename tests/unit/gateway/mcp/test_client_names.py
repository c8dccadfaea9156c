"""Names of tools for MCP clients."""

import re

import pytest

from grpc_tool_bridge.gateway.mcp.client_names import client_names, own_name

LONG = "files." + "x" * 100


@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        (["add", "a-b_C9"], {}),
        (["time.now", "add"], {"time.now": "time_now"}),
        (["a.b.c"], {"a.b.c": "a_b_c"}),
    ],
)
def test_only_names_that_clients_refuse_are_changed(names: list[str], renamed: dict[str, str]) -> None:
    assert client_names(names) == renamed


@pytest.mark.parametrize(
    "names",
    [
        ["a.b", "a_b"],
        ["a.b_c", "a_b.c"],
        [LONG, LONG + "y", "x" * 65],
        ["search.tools", "call.tool"],
        ["a.b" + "x" * 60, "a_b" + "x" * 60],
    ],
)
def test_every_tool_has_a_name_that_means_it_alone(names: list[str]) -> None:
    shown = {name: client_names(names).get(name, name) for name in names}
    assert len(set(shown.values())) == len(names)
    for name, given in shown.items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", given)
        assert given not in ("search_tools", "call_tool")
        assert own_name(given, names) == name
        assert own_name(name, names) == name


def test_a_name_that_has_become_that_of_two_tools_means_neither() -> None:
    assert own_name("a_b_c", ["a.b_c"]) == "a.b_c"
    assert own_name("a_b_c", ["a.b_c", "a_b.c"]) == "a_b_c"


def test_a_tool_goes_before_another_one_that_has_its_name_for_clients() -> None:
    assert own_name("a_b", ["a.b", "a_b"]) == "a_b"


@pytest.mark.parametrize("given", ["", "no", "a.c", "search_tools", "x" * 200, "a_b_000000000000"])
def test_what_means_no_tool_stays_as_it_is(given: str) -> None:
    assert own_name(given, ["a.b", "search.tools"]) == given
