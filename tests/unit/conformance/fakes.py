"""Peers that do one thing wrong, or otherwise than Python's."""

from collections.abc import Callable
from typing import Any

from conformance.peers.python_peer import answer

Answer = dict[str, Any]


class Altered:
    """Python's peer, in this process, with an answer that is altered.

    Args:
        do: The action whose answers are altered.
        alter: Makes the answer from the request and Python's answer.
    """

    def __init__(self, do: str = "", alter: Callable[[Answer, Answer], Answer] = lambda _, given: given) -> None:
        self._do = do
        self._alter = alter
        self.asked: list[str] = []

    def ask(self, do: str, **request: Any) -> Answer:
        self.asked.append(do)
        given = answer({"id": 1, "do": do, **request})
        return self._alter(request, given) if do == self._do else given
