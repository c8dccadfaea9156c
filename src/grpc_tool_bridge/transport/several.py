"""Several hubs of which any will do: links are dialled at the next one when a hub is gone."""

import re
import time
from collections.abc import Mapping, Sequence

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError, error_from_info, error_info
from grpc_tool_bridge.link.keepalive import KeepAlive
from grpc_tool_bridge.link.status import Code, code_of, is_transient, link_error
from grpc_tool_bridge.link.streams import GREETING_SECONDS, Dialable, Endpoint, FrameStream, PushStream
from grpc_tool_bridge.transport.address_lists import MAX_SHOWN, shown_addresses

# Of why one hub was not reached, in a text that names several.
MAX_REASON_CHARS = 200

# gRPC names the address and its own layers first.
_GRPC_PREFIX = re.compile(
    r"(?:no answer from the hub at .{1,200}?: )?failed to connect to all addresses; last error: (?:[A-Z_]+: )?"
    r"(?:(?:ipv[46]|unix):[^ ]+: )?"
)

# A large frame over gRPC shows only when all of it has arrived, so that a hub on a slow line looks silent; that it is
# gone is noticed sooner by gRPC's own keep-alive.
_LEAST_TIMEOUT_OVER_GRPC = 20.0


class SeveralEndpoints:
    """Hubs that are dialled one after another until one of them takes a link; an ``Endpoint``.

    Args:
        endpoints: The hubs, the first one first.
        keepalive: How long a hub may be silent before another one is dialled; ``timeout`` is also how long a dial may
            take, twice as long after each round in vain.
    """

    def __init__(self, endpoints: Sequence[Endpoint], keepalive: KeepAlive) -> None:
        self.where = shown_addresses(tuple(endpoint.where for endpoint in endpoints))
        self._endpoints = tuple(endpoints)
        self._keepalive = keepalive

    def open(self) -> "SeveralWays":
        """See ``Endpoint``."""
        return SeveralWays({endpoint.where: endpoint.open() for endpoint in self._endpoints}, self._keepalive)


class SeveralWays(Dialable):
    """The open ways to several hubs.

    Args:
        ways: By address.
        keepalive: As for ``SeveralEndpoints``.
    """

    has_others = True

    def __init__(self, ways: Mapping[str, Dialable], keepalive: KeepAlive) -> None:
        self._ways = ways
        self._names = tuple(ways)
        self._keepalive = keepalive
        self.where = self._names[0]
        # Since the last pause: why each hub was left, and when the current one was first dialled.
        self._reasons: dict[str, ToolBridgeError] = {}
        self._dialled_at: float | None = None
        self._summary: ToolBridgeError | None = None
        # Rounds in vain since a hub has served.
        self._rounds = 0

    async def dial(self) -> FrameStream | PushStream:
        """See ``Dialable``."""
        limit = self._limit
        if self._dialled_at is None:
            self._dialled_at = time.monotonic()
        try:
            stream: FrameStream | PushStream = await within(self._ways[self.where].dial(), limit)
        except ExpiredError:
            raise link_error(Code.UNAVAILABLE, f"nobody answered within {limit:g} s") from None
        stream.greeting_seconds = min(stream.greeting_seconds, limit)
        if isinstance(stream, PushStream):
            stream.keepalive = self._keepalive
        else:
            quiet, timeout = self._keepalive
            stream.keepalive = KeepAlive(quiet, max(timeout, _LEAST_TIMEOUT_OVER_GRPC))
        return stream

    def dial_otherwise(self, error: ToolBridgeError) -> bool:
        """See ``Dialable``: the same hub otherwise, or the next one."""
        began = self._dialled_at
        if (began is None or time.monotonic() - began < self._limit) and self._ways[self.where].dial_otherwise(error):
            return True
        # Its calls can be plain RPCs.
        return code_of(error) is not Code.UNIMPLEMENTED and self._next(error)

    def move_on(self, error: ToolBridgeError, *, stable: bool) -> bool:
        """See ``Dialable``."""
        if stable:
            self._reasons.clear()
            self._rounds = 0
        return self._next(error)

    def sum_up(self, error: ToolBridgeError) -> ToolBridgeError:
        """See ``Dialable``."""
        summary, self._summary = self._summary, None
        return summary or error

    def plain_calls(self, tasks: TaskSet) -> object:
        """See ``Dialable``."""
        return self._ways[self.where].plain_calls(tasks)

    async def close(self, *, stranded: bool = False) -> None:
        """Closes all ways."""
        for way in self._ways.values():
            await way.close(stranded=stranded)

    @property
    def _limit(self) -> float:
        """Seconds that a dial may take."""
        return min(self._keepalive.timeout * float(2**self._rounds), max(GREETING_SECONDS, self._keepalive.timeout))

    def _next(self, error: ToolBridgeError) -> bool:
        """Turns to the next hub; returns whether there is one that was not left since the last pause."""
        self._reasons[self.where] = error
        self._dialled_at = None
        self.where = self._names[(self._names.index(self.where) + 1) % len(self._names)]
        if len(self._reasons) < len(self._names):
            return True
        self._summary = in_vain(self._reasons)
        self._reasons.clear()
        self._rounds = min(self._rounds + 1, 10)
        return False


def in_vain(reasons: Mapping[str, ToolBridgeError]) -> ToolBridgeError:
    """Returns the error for hubs of which none serves.

    Args:
        reasons: Why not, by address.

    Returns:
        An error that says why each one does not. Its status is UNAVAILABLE if that of one is, since that one may come
        back; else it is that of the first one.
    """
    shown = [f"{where}: {_reason(error)}" for where, error in list(reasons.items())[:MAX_SHOWN]]
    if len(reasons) > MAX_SHOWN:
        shown.append(f"and {len(reasons) - MAX_SHOWN} more")
    text = f"none of the {len(reasons)} hubs serves: {'; '.join(shown)}"
    errors = list(reasons.values())
    passing = [error for error in errors if is_transient(error)]
    error = min(passing, key=lambda error: code_of(error) is not Code.UNAVAILABLE) if passing else errors[0]
    if passing or isinstance(error, ToolCommunicationError):
        return link_error(code_of(error), text)
    info = error_info(error)
    info.message = text
    return error_from_info(info)


def _reason(error: ToolBridgeError) -> str:
    text = _GRPC_PREFIX.sub("", error.message, count=1)
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}…"
