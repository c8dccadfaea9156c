"""The answers of methods that only succeed or fail."""

from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.errors import ConflictError, StoreError


def test_a_failure_is_told_in_the_message_and_as_an_error() -> None:
    status = failed_status(ConflictError("it has changed", details={"revision": "7"}))
    assert not status.success
    assert (status.message, status.error.message) == ("it has changed",) * 2
    assert (status.error.type, status.error.retryable, status.error.details["revision"]) == (
        "RevisionConflict",
        False,
        "7",
    )


def test_a_store_that_mends_itself_may_be_asked_again_and_no_other() -> None:
    assert [failed_status(StoreError("x", retryable=later)).error.retryable for later in (True, False)] == [True, False]
    assert failed_status(StoreError("x")).error.type == "WorkerUnavailable"
