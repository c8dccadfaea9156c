"""The names of a cluster on NATS: its stream and its subjects."""

from dataclasses import dataclass
from hashlib import blake2b

# 160 bits: nobody finds two sessions with one subject, and a subject tells nothing of a session's id.
_DIGEST_BYTES = 20

_MAX_TOKEN_CHARS = 100


def is_token(text: object) -> bool:
    """Returns whether something, such as the id of a hub's life, can be a part of a subject and of a line of a log."""
    return isinstance(text, str) and text.isalnum() and text.isascii() and len(text) <= _MAX_TOKEN_CHARS


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one cluster; what it stores and sends has no others.

    Attributes:
        cluster: Its name, the first part of each subject.
    """

    cluster: str

    @property
    def stream(self) -> str:
        """The stream of all that it keeps."""
        return self.cluster.upper().replace("-", "_")

    @property
    def subjects(self) -> list[str]:
        """The subjects of that stream."""
        return [self.sessions, self.hubs, self.facts]

    @property
    def sessions(self) -> str:
        """A filter for the chains of all sessions."""
        return f"{self.cluster}.s.*"

    @property
    def hubs(self) -> str:
        """A filter for the leases of all hubs."""
        return f"{self.cluster}.h.*"

    @property
    def facts(self) -> str:
        """A filter for the facts of the cluster."""
        return f"{self.cluster}.m.*"

    @property
    def inboxes(self) -> str:
        """The prefix of the subjects of answers, so that a hub needs no right to read those of others."""
        return f"{self.cluster}.i"

    def session(self, session_id: str) -> str:
        """Returns the subject of a session's chain."""
        digest = blake2b(session_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()
        return f"{self.cluster}.s.{digest}"

    def hub(self, incarnation: str) -> str:
        """Returns the subject of a hub's lease."""
        return f"{self.cluster}.h.{incarnation}"

    def fact(self, name: str) -> str:
        """Returns the subject of a fact, such as ``epoch``."""
        return f"{self.cluster}.m.{name}"

    def link(self, incarnation: str, token: str) -> str:
        """Returns the subject at which a hub receives greetings, or the messages of one link; ``*`` for all of them."""
        return f"{self.cluster}.l.{incarnation}.{token}"
