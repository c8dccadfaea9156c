"""What clients asked of a hub, and what they were told."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# How an operation ended: as it was asked; refused, and without an effect; or nobody knows.
OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass
class Operation:
    """One operation of a client.

    Attributes:
        client: The client; it has one operation at a time.
        kind: What was asked: "set", "delete", "get", "call" and so on.
        session: The session.
        name: The variable, key, agent or run.
        asked: What it was asked with.
        start, end: Nanoseconds of the system's monotonic clock; ``end`` of an unknown operation is when the life of the
            hub had ended that may have carried it out, and None while it may go on.
        outcome: OK, REFUSED or UNKNOWN; empty while the client waits.
        answer: What the client was told.
        number: Its place in the order of their starts.
    """

    client: str
    kind: str
    session: str
    name: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    start: int = 0
    end: int | None = None
    outcome: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    @property
    def closed(self) -> int:
        """When it has ended at the latest."""
        return self.end if self.end is not None else 1 << 63

    def __str__(self) -> str:
        asked = {**self.asked, **({"name": self.name} if self.name else {})}
        said = f"{self.kind} {self.session} {asked} -> {self.outcome} {self.answer}"
        return f"#{self.number} {self.client}: {said} [{self.start}, {self.end}]"


class History:
    """The operations of all clients.

    Attributes:
        operations: In the order of their starts.
        acknowledged: Number of those that succeeded.
        on_acknowledged: Called after each of these.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.acknowledged = 0
        self.on_acknowledged: Callable[[], None] = lambda: None
        self._open: list[Operation] = []

    def begin(self, client: str, kind: str, session: str, name: str = "", **asked: Any) -> Operation:
        """Notes an operation before it is made."""
        operation = Operation(client, kind, session, name, asked, number=len(self.operations))
        self.operations.append(operation)
        operation.start = time.monotonic_ns()
        return operation

    def end(self, operation: Operation, outcome: str, **answer: Any) -> None:
        """Notes how it ended for its client."""
        # The clock may be coarse.
        at = max(time.monotonic_ns(), operation.start + 1)
        operation.outcome, operation.answer = outcome, answer
        if outcome == UNKNOWN:
            self._open.append(operation)
        else:
            operation.end = at
        if outcome == OK:
            self.acknowledged += 1
            self.on_acknowledged()

    def life_ended(self) -> None:
        """Notes that what nobody knows of has taken effect by now, or never will: the process has ended."""
        self.close(self.unknown())

    def unknown(self) -> list[Operation]:
        """Returns what nobody knows of, and what may still take effect."""
        return list(self._open)

    def close(self, operations: Sequence[Operation]) -> None:
        """Notes that some of these have taken effect by now, or never will."""
        at = time.monotonic_ns()
        for operation in operations:
            operation.end = max(at, operation.start + 1)
            self._open.remove(operation)

    def of(self, *kinds: str) -> list[Operation]:
        """Returns the operations of some kinds."""
        return [operation for operation in self.operations if operation.kind in kinds]


def to_dict(operation: Operation) -> dict[str, Any]:
    """Returns an operation as JSON has it."""
    return asdict(operation)


def by_target(operations: Iterable[Operation]) -> dict[tuple[str, str], list[Operation]]:
    """Groups operations by their session and name."""
    found: dict[tuple[str, str], list[Operation]] = {}
    for operation in operations:
        found.setdefault((operation.session, operation.name), []).append(operation)
    return found
