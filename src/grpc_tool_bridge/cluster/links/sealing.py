"""The key of a cluster, and the seals by which its hubs know each other's messages.

Whoever may publish at the NATS server could otherwise call tools. The key comes from two secrets: one that is made once
and kept in the store, so that only who may read the store has it, and the setting ``cluster_secret``, which never
reaches NATS. Each link has keys of its own, one for each direction, from the nonces of both ends (HKDF, RFC 5869, with
HMAC-SHA256), so that no message of another link or another direction passes for one of this. The messages themselves
are sealed by a keyed BLAKE2b (RFC 7693), which takes a third of the time of an HMAC for small ones.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.errors import WrongSequenceError
from grpc_tool_bridge.errors import StoreError

# The fact that has the secret of the store.
FACT = "secret"
SECRET_BYTES = 32
NONCE_BYTES = 16
# Of a message: nobody can try more than a few of 2**128 while a link lasts.
SEAL_BYTES = 16

_PURPOSE = b"tool-bridge cluster 1"


async def shared_secret(bus: Bus) -> bytes:
    """Returns the secret that stands in the store; the first hub makes it.

    Raises:
        StoreError: The store cannot be reached, or what stands there is no secret.
    """
    subject = bus.names.fact(FACT)
    found = await bus.last(subject)
    if found is None:
        made = secrets.token_bytes(SECRET_BYTES)
        try:
            await bus.append_surely(subject, made, last=0)
        except WrongSequenceError:
            # Another hub was faster; the secret that stands is everybody's.
            found = await bus.last(subject)
        else:
            return made
    if found is None or len(found.data) != SECRET_BYTES:
        raise StoreError(
            f"the secret of the cluster in NATS, at {subject}, does not have {SECRET_BYTES} bytes; if nothing else "
            "uses that subject, delete its message, and start all hubs again"
        )
    return found.data


class MessageSeal:
    """Seals the messages of one direction of a link.

    Args:
        key: Of this direction.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        # Keyed once: a copy is cheaper.
        self._keyed = hashlib.blake2b(key=key, digest_size=SEAL_BYTES)

    def of(self, head: bytes, payload: bytes | memoryview) -> bytes:
        """Returns the seal of a message."""
        keyed = self._keyed.copy()
        keyed.update(head)
        keyed.update(payload)
        return keyed.digest()

    def fits(self, seal: bytes, head: bytes, payload: bytes | memoryview) -> bool:
        """Returns whether a message is genuine; takes the same time for every seal."""
        return hmac.compare_digest(seal, self.of(head, payload))


@dataclass(frozen=True, slots=True)
class LinkSeals:
    """The seals of one end of a link.

    Attributes:
        outgoing: Seals what this end sends.
        incoming: Checks what it receives.
    """

    outgoing: MessageSeal
    incoming: MessageSeal


class ClusterKey:
    """The key that all hubs of a cluster have.

    Args:
        shared: The secret that stands in the store.
        secret: The setting ``cluster_secret``; empty: none is set.
    """

    def __init__(self, shared: bytes, secret: bytes = b"") -> None:
        self._key = hmac.digest(shared, _joined(_PURPOSE, secret), "sha256")

    def __repr__(self) -> str:
        # No key in a log.
        return "ClusterKey(…)"

    def seal(self, purpose: bytes, *parts: bytes) -> bytes:
        """Returns the seal of a message that belongs to no link yet.

        Args:
            purpose: What the message is, so that none passes for another.
            parts: What it says.
        """
        return hmac.digest(self._key, _joined(_PURPOSE, purpose, *parts), "sha256")[:SEAL_BYTES]

    def fits(self, seal: bytes, purpose: bytes, *parts: bytes) -> bool:
        """Returns whether a message is genuine; arguments as for ``seal``."""
        return hmac.compare_digest(seal, self.seal(purpose, *parts))

    def link_seals(self, greeting: bytes, answer: bytes, *, dialler: bool) -> LinkSeals:
        """Returns the seals of one end of a link.

        Args:
            greeting: What the dialler said, with its nonce.
            answer: What the acceptor said, with its nonce.
            dialler: Whether this end has dialled.
        """
        extracted = hmac.digest(hashlib.sha256(_joined(greeting, answer)).digest(), self._key, "sha256")
        to_acceptor, to_dialler = (
            MessageSeal(hmac.digest(extracted, b"tool-bridge link " + direction + b"\x01", "sha256"))
            for direction in (b"to the acceptor", b"to the dialler")
        )
        if dialler:
            return LinkSeals(outgoing=to_acceptor, incoming=to_dialler)
        return LinkSeals(outgoing=to_dialler, incoming=to_acceptor)


def _joined(*parts: bytes) -> bytes:
    """Returns parts of which none can pass for another: each comes after its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
