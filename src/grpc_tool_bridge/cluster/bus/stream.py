"""The stream of a cluster: made by the first hub, and kept as a cluster needs it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

from grpc_tool_bridge.cluster.names import Names
from grpc_tool_bridge.errors import StoreError

# Seconds for JetStream to be there when a hub starts: a cluster of NATS that starts too has to elect its leaders.
ENSURE_SECONDS = 20.0
_RETRY_SECONDS = 0.25
MAX_REPLICAS = 3

# Error codes of JetStream.
_NOT_CLUSTERED = 10074
_NO_STREAM = 10059
_OTHER_CONFIG = 10058
_OVERLAP = 10065
_NO_PEERS = 10005
_ACCOUNT_WITHOUT = 10039
_SERVER_WITHOUT = 10076
_REMEDIES = {
    _NO_PEERS: "fewer nodes of NATS are up than the stream has replicas; start them, or set nats_replicas",
    _OVERLAP: "another stream has these subjects; name another cluster in the URL",
    _ACCOUNT_WITHOUT: "enable JetStream for the hub's account",
    _SERVER_WITHOUT: "start nats-server with JetStream (-js)",
}
# Whatever is tried again, this does not change.
_FINAL = frozenset({_OVERLAP, _ACCOUNT_WITHOUT, _SERVER_WITHOUT})


class Api(Protocol):
    """What the stream is made with."""

    async def api(self, name: str, request: Mapping[str, Any], *, timeout: float = ...) -> dict[str, Any]:
        """Makes a request to the API of JetStream."""
        ...


def config(names: Names, replicas: int) -> dict[str, Any]:
    """Returns what the stream of a cluster has to be."""
    return {
        "name": names.stream,
        "description": "sessions, hubs and facts of a tool bridge",
        "subjects": names.subjects,
        "retention": "limits",
        "storage": "file",
        # What is full refuses new messages; it never forgets old ones.
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "num_replicas": replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "deny_delete": False,
        "deny_purge": False,
    }


async def ensure(api: Api, names: Names, replicas: int) -> None:
    """Makes the stream, or brings it to what it has to be; any number of hubs may do so at once.

    Args:
        api: The API of JetStream.
        names: Of the cluster.
        replicas: How many nodes hold it; 0: leave it as it is, and make it with as many as there are, at most 3.

    Raises:
        StoreError: It cannot be made; the text says what to do.
    """
    end = time.monotonic() + ENSURE_SECONDS
    while True:
        try:
            return await _ensure(api, names, replicas)
        except StoreError as error:
            code = _code(error)
            if code in _FINAL or time.monotonic() >= end:
                remedy = _REMEDIES.get(code, "see that nats-server has JetStream (-js) and all of its nodes are up")
                raise StoreError(f"cannot make the stream {names.stream}: {error}; {remedy}") from None
        await asyncio.sleep(_RETRY_SECONDS)


async def _ensure(api: Api, names: Names, replicas: int) -> None:
    try:
        found = await api.api(f"STREAM.INFO.{names.stream}", {})
    except StoreError as error:
        if _code(error) != _NO_STREAM:
            raise
        await _make(api, names, replicas)
        return
    current = found["config"]
    wanted = config(names, replicas or current["num_replicas"])
    # Who looks after NATS may have set limits of its size; a hub leaves them.
    for name in ("description", "max_bytes", "max_age"):
        wanted[name] = current.get(name, wanted[name]) if name != "max_age" else 0
    if any(current.get(name) != value for name, value in wanted.items()):
        await api.api(f"STREAM.UPDATE.{names.stream}", {**current, **wanted})


async def _make(api: Api, names: Names, replicas: int) -> None:
    try:
        await api.api(f"STREAM.CREATE.{names.stream}", config(names, replicas or MAX_REPLICAS))
    except StoreError as error:
        if _code(error) == _NOT_CLUSTERED and not replicas:
            await _make(api, names, 1)
        elif _code(error) != _OTHER_CONFIG:
            raise
        # Another hub has just made it.


def _code(error: StoreError) -> int:
    return int(error.details.get("err_code", 0))
