"""Between an error of the bridge and the status of a call on a link."""

import pytest

from grpc_tool_bridge.errors import (
    ERROR_TABLE,
    AccessError,
    NotFoundError,
    ToolExecutionError,
    error_from_info,
)
from grpc_tool_bridge.link.status import Code, code_of, error_of_status, is_transient, link_error, link_status_of


@pytest.mark.parametrize("error_type", ERROR_TABLE)
def test_an_error_has_the_status_of_the_table_and_comes_back_with_its_type(error_type: str) -> None:
    error = NotFoundError("it", error_type=error_type, details={"a": "1"})
    status = link_status_of(error)
    assert (Code(status.code).name, status.message) == (ERROR_TABLE[error_type].status, "it")
    back = error_of_status(status)
    assert type(back) is type(error_from_info(status.error))
    assert (back.error_type, back.message, back.details["a"]) == (error_type, "it", "1")
    assert code_of(error) is Code(status.code)


def test_what_a_tool_raised_is_unknown_whatever_its_name() -> None:
    error = ToolExecutionError("t", "NotFound", "it", {"origin": "tool"})
    assert link_status_of(error).code == Code.UNKNOWN


def test_what_is_none_of_the_bridge_s_is_internal_and_tells_nothing() -> None:
    status = link_status_of(LookupError("a secret"))
    assert status.code == Code.INTERNAL
    assert "secret" not in status.message


@pytest.mark.parametrize(
    ("code", "transient"),
    [
        (Code.UNAVAILABLE, True),
        (Code.INTERNAL, True),
        (Code.UNAUTHENTICATED, False),
        (Code.PERMISSION_DENIED, False),
        (Code.INVALID_ARGUMENT, False),
        (Code.NOT_FOUND, False),
    ],
)
def test_what_is_transient_is_dialled_again(code: Code, transient: bool) -> None:
    assert is_transient(link_error(code, "")) is transient


def test_a_refusal_of_the_hub_itself_is_as_permanent_as_its_status() -> None:
    assert not is_transient(AccessError("the token is wrong", error_type="Unauthenticated"))
