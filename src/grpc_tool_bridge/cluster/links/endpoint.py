"""How a hub dials another over NATS, and how that one accepts.

A dial is one request and its answer, each a JSON object after its seal. Both have a nonce, from which the keys of the
link are made; so a greeting that somebody repeats gives him no link, and the link is served only once its first message
came. Hubs whose secrets differ tell each other that much and no more.
"""

import json
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.links.frames import LinkLostError, NatsStream
from grpc_tool_bridge.cluster.links.mailbox import DIAL, Mailbox
from grpc_tool_bridge.cluster.links.sealing import NONCE_BYTES, SEAL_BYTES, ClusterKey
from grpc_tool_bridge.cluster.names import is_token
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.link.status import Code, link_error, link_status_of
from grpc_tool_bridge.link.streams import Dialable, Endpoint, PushStream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus
from grpc_tool_bridge.rpc.authentication import Principal

# Of the handshake and the messages of a link.
VERSION = 1
# How long the other hub may take to answer a greeting.
DIAL_SECONDS = 2.0
# Links of which no message came yet; a further one takes the place of the oldest.
MAX_UNCONFIRMED = 64
# Greetings with a wrong seal that are answered within so many seconds: an answer costs more than a look at the seal.
MAX_REFUSED = 20
REFUSING_SECONDS = 1.0
# Greetings that are remembered, so that none is taken twice.
MAX_GREETED = 10_000
# Of a greeting or its answer, and of a hub's name in it.
MAX_GREETING_BYTES = 4 * 1024
MAX_NAME_CHARS = 100
# Why there is no link, as the hub that dials says.
OTHER_KEY = "it has another cluster_secret, or another store, than this hub"
REFUSED = "it refused the link"

_GREETING, _ANSWER = b"greeting", b"answer"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubName:
    """Which hub it is.

    Attributes:
        incarnation: Of this life of the hub.
        name: For people.
    """

    incarnation: str
    name: str


@dataclass(frozen=True, slots=True)
class PeerPrincipal(Principal):
    """A hub of the same cluster.

    Attributes:
        incarnation: Of this life of the hub.
    """

    incarnation: str = ""


# Serves an accepted link, as ``LinkServer.serve`` does.
Serve = Callable[[PushStream, Principal], Awaitable[None]]


class PeerEndpoint(Endpoint):
    """Another hub of the cluster.

    Args:
        mailbox: Of this hub.
        key: Of the cluster.
        own: Which hub this is.
        peer: Which hub is dialled.
    """

    def __init__(self, mailbox: Mailbox, key: ClusterKey, own: HubName, peer: HubName) -> None:
        self._mailbox = mailbox
        self._key = key
        self._own = own
        self._peer = peer

    @property
    def where(self) -> str:
        """See ``Endpoint``."""
        return f"hub {self._peer.name}"

    def open(self) -> "PeerWay":
        """See ``Endpoint``."""
        return PeerWay(self._mailbox, self._key, self._own, self._peer)


class PeerWay(Dialable):
    """The way to another hub; arguments as for ``PeerEndpoint``."""

    def __init__(self, mailbox: Mailbox, key: ClusterKey, own: HubName, peer: HubName) -> None:
        self._mailbox = mailbox
        self._key = key
        self._own = own
        self._peer = peer
        self._throttled = ThrottledLog(_log)

    async def dial(self) -> NatsStream:
        """See ``Dialable``.

        Raises:
            ToolCommunicationError: The other hub does not answer, or refuses (UNAVAILABLE).
        """
        own, peer, mailbox = self._own, self._peer, self._mailbox
        token = secrets.token_hex(NONCE_BYTES)
        said = {"version": VERSION, "incarnation": own.incarnation, "name": own.name, "to": peer.incarnation}
        greeting = json.dumps({**said, "token": token}).encode()
        answered = await mailbox.request(
            mailbox.subject(peer.incarnation, DIAL), self._key.seal(_GREETING, greeting) + greeting, DIAL_SECONDS
        )
        seal, answer = answered[:SEAL_BYTES], answered[SEAL_BYTES:]
        if not self._key.fits(seal, _ANSWER, greeting, answer):
            self._throttled.warning(
                "hub %s has another key than this hub: are all hubs given the same cluster_secret, and do they use the "
                "same store?",
                peer.name,
            )
            raise link_error(Code.UNAVAILABLE, OTHER_KEY)
        found = _read(answer)
        if "refused" in found or not is_token(found.get("token")):
            raise link_error(Code.UNAVAILABLE, f"{REFUSED}: {found.get('refused', 'for no reason')!s:.200}")
        stream = NatsStream(
            mailbox,
            mailbox.subject(peer.incarnation, found["token"]),
            self._key.link_seals(greeting, answer, dialler=True),
            token=token,
            incarnation=peer.incarnation,
            peer=f"hub:{peer.incarnation}",
            accepted=False,
        )
        mailbox.add(stream)
        return stream

    async def close(self, *, stranded: bool = False) -> None:
        """See ``Dialable``; there is nothing to close: a stream ends with its link."""


class PeerListener:
    """Accepts the links that other hubs dial.

    Args:
        mailbox: Of this hub.
        key: Of the cluster.
        own: Which hub this is.
        serve: Serves each link; raises ToolBridgeError, which the peer is told.
        refusal: Returns why a hub may not dial, by its incarnation; None: it may.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        key: ClusterKey,
        own: HubName,
        serve: Serve,
        *,
        refusal: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._mailbox = mailbox
        self._key = key
        self._own = own
        self._serve_link = serve
        self._refusal = refusal
        self._unconfirmed: dict[NatsStream, None] = {}
        self._refusing_since = -math.inf
        self._refused = 0
        self._greeted: dict[str, None] = {}
        self._tasks = TaskSet()
        self._throttled = ThrottledLog(_log)
        mailbox.on_dial = self._on_dial

    def __len__(self) -> int:
        return len(self._tasks)

    def stop_listening(self) -> None:
        """Accepts no further links; dials are not answered any more."""
        self._mailbox.on_dial = None

    async def aclose(self) -> None:
        """Ends the links that are still served."""
        self.stop_listening()
        await self._tasks.aclose()
        for stream in list(self._unconfirmed):
            stream.finish(None)
        self._unconfirmed.clear()

    def _on_dial(self, message: bytes, reply: str) -> None:
        # An answer elsewhere would be a message of this hub wherever its sender wants one, as in a session's chain.
        if not self._mailbox.is_inbox(reply) or not SEAL_BYTES < len(message) <= MAX_GREETING_BYTES:
            self._mailbox.note("malformed")
            return
        seal, greeting = message[:SEAL_BYTES], message[SEAL_BYTES:]
        answer = self._answer(seal, greeting)
        if answer is None:
            return
        try:
            self._mailbox.post(reply, self._key.seal(_ANSWER, greeting, answer) + answer)
        except LinkLostError:
            # Whoever dials will dial again.
            self._mailbox.note("disconnected")

    def _answer(self, seal: bytes, greeting: bytes) -> bytes | None:
        """Returns the answer to a greeting; None: there is none."""
        if not self._key.fits(seal, _GREETING, greeting):
            self._mailbox.note("forged")
            if not self._may_refuse():
                return None
            self._throttled.warning(
                "a hub with another key tried to dial this hub: are all hubs given the same cluster_secret?"
            )
            return _refused("the seal is wrong")
        found = _read(greeting)
        incarnation, name, token = (found.get(key) for key in ("incarnation", "name", "token"))
        if not is_token(incarnation) or not is_token(token) or found.get("to") != self._own.incarnation:
            self._mailbox.note("malformed")
            return _refused("the greeting is not for this hub")
        if found.get("version") != VERSION:
            return _refused(f"it speaks version {VERSION} of links between hubs, not {found.get('version')!r:.20}")
        if self._is_repeated(str(token)):
            self._mailbox.note("repeated")
            return _refused("the greeting was used before")
        refusal = self._refusal(str(incarnation))
        if refusal is not None:
            return _refused(refusal)
        return self._accept(HubName(str(incarnation), str(name)[:MAX_NAME_CHARS]), str(token), greeting)

    def _may_refuse(self) -> bool:
        """Returns whether a forged greeting is answered: many at once are no mistake of a hub's owner."""
        now = time.monotonic()
        if now - self._refusing_since >= REFUSING_SECONDS:
            self._refusing_since, self._refused = now, 0
        self._refused += 1
        return self._refused <= MAX_REFUSED

    def _is_repeated(self, token: str) -> bool:
        """Returns whether a greeting came before: whoever repeats one must not drive out the links of others."""
        if token in self._greeted:
            return True
        self._greeted[token] = None
        if len(self._greeted) > MAX_GREETED:
            del self._greeted[next(iter(self._greeted))]
        return False

    def _accept(self, peer: HubName, token: str, greeting: bytes) -> bytes:
        own_token = secrets.token_hex(NONCE_BYTES)
        answer = json.dumps({"version": VERSION, "token": own_token}).encode()
        stream = NatsStream(
            self._mailbox,
            self._mailbox.subject(peer.incarnation, token),
            self._key.link_seals(greeting, answer, dialler=False),
            token=own_token,
            incarnation=peer.incarnation,
            peer=f"hub:{peer.incarnation}",
            accepted=True,
        )
        stream.on_confirmed = partial(self._confirmed, stream, peer)
        if len(self._unconfirmed) >= MAX_UNCONFIRMED:
            oldest = next(iter(self._unconfirmed))
            del self._unconfirmed[oldest]
            oldest.finish(None)
        self._unconfirmed[stream] = None
        self._mailbox.add(stream)
        return answer

    def _confirmed(self, stream: NatsStream, peer: HubName) -> None:
        self._unconfirmed.pop(stream, None)
        self._mailbox.end_older(stream)
        self._tasks.spawn(self._serve(stream, peer), f"link of hub {peer.name}")

    async def _serve(self, stream: NatsStream, peer: HubName) -> None:
        status: LinkStatus | None = None
        try:
            await self._serve_link(
                stream, PeerPrincipal(f"hub:{peer.name}", method="hub", incarnation=peer.incarnation)
            )
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - every failure is a status
            status = link_status_of(error)
            if isinstance(error, ToolBridgeError):
                # The stack frames of its traceback keep the link alive.
                error.__traceback__ = error.__context__ = error.__cause__ = None
            elif isinstance(error, OSError):
                _log.info("the link of hub %s was lost: %s", peer.name, error)
            else:
                log_fault(_log, "fault in a link: %s", status.message, error=error)
        finally:
            stream.close()
            stream.finish(status)


def _refused(why: str) -> bytes:
    return json.dumps({"version": VERSION, "refused": why}).encode()


def _read(data: bytes) -> dict[str, Any]:
    """Reads what was sealed; whoever has the key may still be of another version."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
