"""An answer that comes without a task."""

from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.aio.deferred import Deferred


@pytest.mark.parametrize(
    "use",
    [
        lambda answer: answer.is_over,
        lambda answer: answer.on_end(print),
        lambda answer: answer.cancel(),
        lambda answer: answer.close(),
        lambda answer: answer.__await__(),
    ],
)
def test_every_kind_of_answer_says_itself_when_it_is_there(use: Callable[[Deferred[int]], Any]) -> None:
    with pytest.raises(NotImplementedError):
        use(Deferred())
