"""What may become of a write."""

import copy

from grpc_tool_bridge.cluster.errors import GapError, MaybeStoredError, NotStoredError, WrongSequenceError
from grpc_tool_bridge.errors import StoreError


def test_each_says_what_is_known_and_is_an_error_of_the_store() -> None:
    wrong = WrongSequenceError("c.s.x", 7)
    assert str(wrong) == "another message came first on c.s.x; its last message is 7"
    assert str(WrongSequenceError("c.s.x", None)) == "another message came first on c.s.x"
    for error in (wrong, NotStoredError("not"), MaybeStoredError("perhaps", "id"), GapError("gap")):
        assert isinstance(error, StoreError)
        assert error.retryable
        assert vars(copy.copy(error)) == vars(error)
