"""The last ten minutes of the hub over HTTP: its points, its tools and workers, and its slow and failed calls."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.history import History, Point, Window
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.notable_calls import KINDS
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.bodies import count_of, flag_of, limit_of, name_of
from grpc_tool_bridge.gateway.errors import JsonResponse
from grpc_tool_bridge.gateway.message_json import message_json
from grpc_tool_bridge.rpc.bounds import shown

T = TypeVar("T")

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
# What tools and workers are sorted by: the largest first, but names ascending.
SORTS = ("calls", "errors", *PERCENTILES, "name")

# A tool or a worker, and its counts.
_Row = tuple[str, ToolMetrics]


def history_of(hub: Hub) -> History:
    """Returns the history of a hub, which begins when it is run."""
    return History(hub.metrics.counts, lambda: _workers_of(hub))


def _workers_of(hub: Hub) -> Iterator[_Row]:
    for worker in hub.workers.workers():
        # Its link counts the calls that it has.
        worker.metrics.active = worker.active
        yield worker.id, worker.metrics


class HistoryRoutes:
    """The routes of the history.

    Args:
        hub: The hub.
        history: Its history.
    """

    def __init__(self, hub: Hub, history: History) -> None:
        self._hub = hub
        self._history = history
        # Numbers of points are of one run of the hub.
        self._epoch = hub.store.revisions.epoch

    async def points(self, request: Request) -> Response:
        """Returns how many calls ended, failed and ran in each interval, and how long they took.

        ``?since=`` leaves out the points up to a sequence number that was seen in an answer, if ``?epoch=`` of that
        answer is the hub's, and ``?tool=`` or ``?worker=`` are of one tool or worker. Percentiles are estimated: only
        the bucket of a duration is known, within which durations count as evenly spread on a logarithmic scale.
        """
        tool, worker, epoch = (name_of(request, name) for name in ("tool", "worker", "epoch"))
        if tool and worker:
            raise ValidationError("tool and worker are both given; a call is counted for each, so give one of them")
        since = count_of(request, "since")
        if epoch not in ("", self._epoch):
            since = 0
        points = await self._history.points(since, tool=tool, worker=worker)
        written = [_point_json(point) async for point in _in_turns(points)]
        interval_ms = int(self._history.interval_seconds * 1_000)
        return JsonResponse({"interval_ms": interval_ms, "epoch": self._epoch, "points": written})

    async def tools(self, request: Request) -> Response:
        """Returns the tools over the last ten minutes, those with the most calls first.

        ``?sort=`` orders them otherwise, and ``?prefix=``, ``?find=`` (a part of the name) and ``?limit=`` choose among
        them; ``count`` says how many there are without the limit. Tools beyond a thousand are one, ``(other)``.
        """
        return await self._table(request, "tools", self._history.tools)

    async def workers(self, request: Request) -> Response:
        """Returns the workers over the last ten minutes, as for the tools; calls that they ran to an end count."""
        return await self._table(request, "workers", self._history.workers)

    async def calls(self, request: Request) -> Response:
        """Lists the slowest or the failed calls of the last ten minutes.

        ``?kind=slow`` or ``failed``; ``?tool=``, ``?worker=`` and ``?session_id=`` choose among them.
        """
        kind = request.query_params.get("kind", KINDS[0])
        if kind not in KINDS:
            raise ValidationError(f"kind must be {' or '.join(KINDS)}, not {shown(kind)}")
        calls = await self._hub.notable_calls(
            kind,
            tool_id=name_of(request, "tool"),
            worker_id=name_of(request, "worker"),
            session_id=name_of(request, "session_id"),
            most=limit_of(request),
        )
        if not flag_of(request, "arguments"):
            for call in calls:
                if call.HasField("error"):
                    call.error.message = ""
        return JsonResponse({"calls": [message_json(call) for call in calls]})

    async def _table(self, request: Request, what: str, window: Window) -> Response:
        sort, limit = request.query_params.get("sort", SORTS[0]), limit_of(request)
        if sort not in SORTS:
            raise ValidationError(f"sort must be one of {', '.join(SORTS)}, not {sort!r:.60}")
        part = name_of(request, "find").casefold()
        rows = [row for row in window.rows(name_of(request, "prefix")) if part in row[0].casefold()]
        total = counts_json(window.total)
        place = _place_by(sort)
        placed = [(place(row), row) async for row in _in_turns(rows)]
        placed.sort(key=lambda item: item[0])
        written = [{"name": name, **counts_json(counts)} async for _, (name, counts) in _in_turns(placed[:limit])]
        seconds = round(self._history.seconds, 3)
        return JsonResponse({"seconds": seconds, "total": total, "count": len(rows), what: written})


def _place_by(sort: str) -> Callable[[_Row], tuple[float, str]]:
    """Returns what gives a row its place."""
    if sort == "name":
        return lambda row: (0, row[0])
    if sort in PERCENTILES:
        # Those without calls come last.
        part = PERCENTILES[sort]
        return lambda row: (-(row[1].percentiles_ms(part)[0] or 0), row[0])
    return lambda row: (-getattr(row[1], sort), row[0])


async def _in_turns(items: Iterable[T]) -> AsyncGenerator[T, None]:
    turns = Turns()
    for item in items:
        yield item
        if turns.due:
            await turns.give()


def _point_json(point: Point) -> dict[str, Any]:
    at = datetime.fromtimestamp(point.at, UTC).isoformat(timespec="milliseconds")
    return {"sequence": point.sequence, "at": at, **counts_json(point.counts)}


def counts_json(counts: ToolMetrics) -> dict[str, Any]:
    """Writes counts: of calls that ended, of those that failed, of those that run, and percentiles of durations."""
    written: dict[str, Any] = {"calls": counts.calls, "errors": counts.errors, "active": counts.active}
    for name, estimate in zip(PERCENTILES, counts.percentiles_ms(*PERCENTILES.values()), strict=True):
        # An estimate has no more digits than that.
        written[f"{name}_ms"] = None if estimate is None else float(f"{estimate:.4g}")
    return written
