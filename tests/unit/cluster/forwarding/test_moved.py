"""A hub that does not have a session says so in a way that another hub understands."""

from grpc_tool_bridge.cluster.forwarding.moved import elsewhere, is_elsewhere
from grpc_tool_bridge.errors import SessionNotFoundError, UnavailableError, error_from_info, error_info


def test_the_error_is_understood_after_it_has_passed_a_link() -> None:
    error = error_from_info(error_info(elsewhere("s", "is not at this hub")))
    assert is_elsewhere(error)
    assert error.retryable
    assert "session 's' is not at this hub" in error.message


def test_no_other_error_is_taken_for_it() -> None:
    assert not is_elsewhere(UnavailableError("the hub is shutting down"))
    assert not is_elsewhere(SessionNotFoundError("there is no session 's'"))
