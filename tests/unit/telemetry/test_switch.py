import pytest

from grpc_tool_bridge.telemetry.switch import VARIABLES, is_wanted


@pytest.mark.parametrize("name", VARIABLES)
def test_a_standard_variable_turns_traces_on(name: str) -> None:
    assert is_wanted(None, {name: "x"})
    assert not is_wanted(None, {name: " "})
    assert not is_wanted(None, {})


def test_the_setting_counts_more_than_variables_and_disabling_more_than_both() -> None:
    assert is_wanted(True, {})
    assert not is_wanted(False, {VARIABLES[0]: "x"})
    assert not is_wanted(True, {"OTEL_SDK_DISABLED": "TRUE", VARIABLES[0]: "x"})
