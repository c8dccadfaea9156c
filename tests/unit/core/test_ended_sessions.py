"""Why sessions have ended is remembered for a while."""

from grpc_tool_bridge.core.ended_sessions import EndedSessions
from grpc_tool_bridge.errors import SessionExpiredError, SessionNotFoundError, UnavailableError


def test_who_comes_back_is_told_why_the_session_has_ended() -> None:
    ended = EndedSessions(2)
    ended.remember("s", "it was removed")
    error = ended.error_of("s")
    assert isinstance(error, SessionExpiredError)
    assert "it was removed" in error.message


def test_a_session_that_never_was_or_is_forgotten_is_not_found() -> None:
    ended = EndedSessions(2)
    for session_id in "abc":
        ended.remember(session_id, "it was removed")
    ended.forget("c")
    for session_id in "acd":
        assert type(ended.error_of(session_id)) is SessionNotFoundError
    assert type(ended.error_of("b")) is SessionExpiredError


def test_a_session_whose_end_is_being_stored_takes_nothing_more() -> None:
    error = EndedSessions(2).error_of("s", is_ending=True)
    assert isinstance(error, SessionExpiredError)
    assert "is being removed" in error.message


def test_who_was_about_to_use_a_session_that_moved_is_told_to_call_again() -> None:
    ended = EndedSessions(2)
    for session_id in "abc":
        ended.remember_moved(session_id, UnavailableError(f"session {session_id} moved to another hub; call again"))
    error = ended.moved_error("c")
    assert error is not None
    assert error.retryable
    assert "moved" in error.message
    assert ended.moved_error("a") is None
    ended.forget("c")
    assert ended.moved_error("c") is None
    ended.remember("b", "it was removed")
    assert ended.moved_error("b") is None
