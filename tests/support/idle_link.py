"""The link of a worker or of another hub over which no call is sent."""

from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.core.workers.worker import WorkerLink
from grpc_tool_bridge.link.calls import WorkerCall


class IdleLink(WorkerLink):
    """A link that is never used; ``open_calls`` is as the test says."""

    features: tuple[str, ...] = ()
    on_writable: Callable[[], None] | None = None
    peer = "peer"
    link_id = "L"
    open_calls = 0

    def calls(self) -> list[WorkerCall]:
        return []

    def has_sent(self, call: WorkerCall) -> bool:
        return False

    def send(self, call: WorkerCall, payload: Any) -> None:
        raise AssertionError("a call was sent")

    def cancel(self, call: WorkerCall) -> None: ...

    def grant(self, call: WorkerCall, size: int) -> None: ...

    def ping(self) -> None: ...

    def release(self) -> None: ...

    def abort(self, why: str) -> None: ...
