"""The hub as a service of NATS micro, so that ``nats micro ls``, ``info`` and ``stats`` see the hubs of a cluster.

It follows ADR-32 of NATS: it answers ``$SRV.PING``, ``$SRV.INFO`` and ``$SRV.STATS``, each also with the name, and
with the name and the id. nats-py's own ``nats.micro`` counts only requests to endpoints that it serves itself, and here
calls come over links.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from grpc_tool_bridge.core.metrics import Totals
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo

_PREFIX = "$SRV"
_TYPE = "io.nats.micro.v1.{}_response"
_DESCRIPTION = "A hub of gRPC tool bridge: calls tools, over links of the cluster"
# Of requests that wait to be answered; who asks more often gets no answer to the rest.
_MAX_WAITING = 256
# An answer is given again for so many seconds, so that those who ask often cost little.
_FRESH_SECONDS = 0.25
# Sent with each answer of the service: an endpoint that many hubs have without sharing its messages has this group.
_NO_QUEUE = ""

_log = logging.getLogger(__name__)


class HubMicro:
    """Answers what tools for NATS micro ask of services.

    Args:
        nc: The connection, which subscribes anew by itself after it was lost.
        cluster: The name of the cluster, which is that of the service; letters, digits and "-".
        describe: Returns what the hub knows of itself.
        counts: Returns the counts of its calls, all tools together.

    Attributes:
        id: Of this instance of the service: another one in each process.
    """

    def __init__(self, nc: Client, cluster: str, describe: Callable[[], HubInfo], counts: Callable[[], Totals]) -> None:
        self._nc = nc
        self._name = cluster
        self._describe = describe
        self._counts = counts
        self._started = datetime.now(UTC)
        self._subscriptions: list[Subscription] = []
        # Anybody on the bus can trigger these log lines.
        self._log = ThrottledLog(_log)
        self.id = secrets.token_hex(11)

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            nats.errors.Error: There is no connection.
        """
        answers: Mapping[str, Callable[[], dict[str, Any]]] = {
            "PING": self.ping, "INFO": self.info, "STATS": self.stats,
        }  # fmt: skip
        for verb, answer in answers.items():
            respond = self._responder(answer)
            for subject in (f"{_PREFIX}.{verb}", f"{_PREFIX}.{verb}.{self._name}"):
                await self._subscribe(subject, respond)
            await self._subscribe(f"{_PREFIX}.{verb}.{self._name}.{self.id}", respond)
        # From here on NATS knows of them all.
        await self._nc.flush()

    async def aclose(self) -> None:
        """Answers no more; it is no error that there is no connection."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            try:
                await subscription.unsubscribe()
            except Error as error:
                _log.debug("%s is not unsubscribed: %s", subscription.subject, error)

    async def _subscribe(self, subject: str, respond: Callable[[Msg], Any]) -> None:
        found = await self._nc.subscribe(subject, cb=respond, pending_msgs_limit=_MAX_WAITING)
        self._subscriptions.append(found)

    def _responder(self, answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Any]:
        data, good_until = b"", 0.0

        async def respond(message: Msg) -> None:
            nonlocal data, good_until
            # Whoever may ask must not have this hub write wherever it may: into a session, or to the API of NATS.
            if not message.reply or not self._may_answer(message.reply):
                return
            now = time.monotonic()
            if now >= good_until:
                data, good_until = json.dumps(answer()).encode(), now + _FRESH_SECONDS
            try:
                await self._nc.publish(message.reply, data)
            except Error as error:
                # Who asked asks again, as all those do that get no answer.
                self._log.warning("a request to %s is not answered: %s", message.subject, error)

        return respond

    def _may_answer(self, reply: str) -> bool:
        is_own = reply.startswith(f"{self._name}.") and not reply.startswith(f"{self._name}.i.")
        return not is_own and not reply.startswith("$")

    # ------------------------------------------------------------------------------------------------- the answers

    def ping(self) -> dict[str, Any]:
        """Returns the answer to PING."""
        return self._identity("ping", self._describe())

    def info(self) -> dict[str, Any]:
        """Returns the answer to INFO."""
        hub = self._describe()
        return {
            **self._identity("info", hub),
            "description": _DESCRIPTION,
            "endpoints": [{**self._endpoint(hub), "metadata": {}}],
        }

    def stats(self) -> dict[str, Any]:
        """Returns the answer to STATS; times are in nanoseconds."""
        hub, counts = self._describe(), self._counts()
        endpoint = {
            **self._endpoint(hub),
            "num_requests": counts.calls,
            "num_errors": counts.errors,
            "last_error": "",
            "processing_time": counts.total_us * 1_000,
            "average_processing_time": counts.total_us * 1_000 // counts.calls if counts.calls else 0,
            "data": {
                "active_calls": hub.active_calls,
                "sessions": hub.sessions,
                "workers": hub.workers,
                "tools": hub.tools,
                "room": hub.room,
            },
        }
        started = f"{self._started:%Y-%m-%dT%H:%M:%S}.{self._started.microsecond // 1_000:03}Z"
        return {**self._identity("stats", hub), "started": started, "endpoints": [endpoint]}

    def _identity(self, kind: str, hub: HubInfo) -> dict[str, Any]:
        return {
            "type": _TYPE.format(kind),
            "name": self._name,
            "id": self.id,
            # A semantic version, as that of the package is.
            "version": hub.version,
            "metadata": {
                "hub": hub.name,
                "incarnation": hub.incarnation,
                "state": hub.state,
                "address": hub.address,
                "http_url": hub.http_url,
            },
        }

    def _endpoint(self, hub: HubInfo) -> dict[str, Any]:
        """Describes where calls come in from other hubs: over links, by their own protocol, to this hub alone."""
        return {"name": "calls", "subject": f"{self._name}.l.{hub.incarnation}.>", "queue_group": _NO_QUEUE}
