"""Which methods become tools, and what these are called."""

import pytest

from grpc_tool_bridge.adapters.grpc.names import chosen, is_about_servers, tool_names, why_no_tool
from grpc_tool_bridge.adapters.naming import Naming

METHODS = [
    "weather.v1.Weather.Get",
    "weather.v1.Weather.Set",
    "weather.v1.Admin.Reset",
    "grpc.health.v1.Health.Check",
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo",
]
GET, SET, RESET, CHECK, REFLECT = METHODS


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), [GET, SET, RESET]),
        (("*",), (), [GET, SET, RESET]),
        (("weather.*",), (), [GET, SET, RESET]),
        (("weather.v1.Weather",), (), [GET, SET]),
        (("Weather",), (), [GET, SET]),
        (("Weather.Get",), (), [GET]),
        (("weather.v1.Weather/Get",), (), [GET]),
        (("/weather.v1.Weather/*",), (), [GET, SET]),
        (("w.Get",), (), [GET]),
        (("w.Admin.*",), (), [RESET]),
        (("*.Get", "Admin.*"), (), [GET, RESET]),
        ((), ("*.Set",), [GET, RESET]),
        (("Weather.*",), ("w.Weather.Get",), [SET]),
        (("grpc.health.*",), (), [CHECK]),
        (("grpc.health.v1.Health", "*.Get"), (), [GET, CHECK]),
        (("Health.Check",), (), [CHECK]),
        (("*Health*",), (), []),
        (("grpc.*",), ("*Reflection*",), [CHECK]),
        (("nothing",), (), []),
    ],
)
def test_patterns_choose(include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]) -> None:
    assert chosen(Naming("w", "w", include, exclude), METHODS) == expected


def test_without_a_prefix_a_tool_has_the_name_of_its_method() -> None:
    assert tool_names(Naming("w", ""), [GET, RESET]) == {GET: GET, RESET: RESET}


def test_under_a_prefix_the_name_is_as_short_as_it_may_be() -> None:
    assert tool_names(Naming("w", "w"), [GET, SET]) == {GET: "w.Get", SET: "w.Set"}
    assert tool_names(Naming("w", "w"), [GET, RESET]) == {GET: "w.Weather.Get", RESET: "w.Admin.Reset"}
    other = "weather.v2.Weather.Get"
    assert tool_names(Naming("w", "w"), [GET, RESET, other]) == {
        GET: f"w.{GET}",
        RESET: "w.Admin.Reset",
        other: f"w.{other}",
    }


def test_names_of_services_without_a_package() -> None:
    assert chosen(Naming("w", "", ("Plain.*",)), ["Plain.Do", "Other.Do"]) == ["Plain.Do"]
    assert tool_names(Naming("w", "w"), ["Plain.Do", "Other.Do"]) == {
        "Plain.Do": "w.Plain.Do",
        "Other.Do": "w.Other.Do",
    }


def test_a_name_that_is_none_is_refused() -> None:
    assert why_no_tool("a.B.C") == ""
    assert "1 to 128 letters" in why_no_tool("x" * 129)
    assert "letters" in why_no_tool("a\x1b")


def test_services_about_a_server_are_known() -> None:
    assert is_about_servers("grpc.health.v1.Health")
    assert not is_about_servers("grpc.testing.TestService")
