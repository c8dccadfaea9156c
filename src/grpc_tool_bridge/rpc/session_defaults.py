"""What a hub tells the client that opens a session: the defaults that it goes by where it sets nothing itself.

They travel in the trailing metadata of InitializeSession, in milliseconds; over a link, where a reply has none, in the
fields of a log record that comes before it.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

# Names the log record that carries a call's trailing metadata over a link.
METADATA_LOGGER = "tool-bridge.trailing-metadata"

_PREFIX = "tool-bridge-"
# More milliseconds than anybody waits.
_MAX_DIGITS = 15


class SessionFacts(Protocol):
    """A hub, as far as it tells of a session."""

    def session_facts(self, session_id: str) -> Mapping[str, int]:
        """Returns milliseconds by name; nothing for a session that is not there."""


def fact_metadata(hub: SessionFacts, session_id: str) -> tuple[tuple[str, str], ...]:
    """Writes what the hub tells of a session as metadata."""
    return tuple((_PREFIX + name, str(value)) for name, value in hub.session_facts(session_id).items())


def read_facts(metadata: Iterable[tuple[str, object]] | None) -> dict[str, float]:
    """Reads seconds by name; what is no fact is passed over."""
    facts = {}
    for key, value in metadata or ():
        if key.startswith(_PREFIX) and isinstance(value, str) and value.isdecimal() and len(value) <= _MAX_DIGITS:
            facts[key.removeprefix(_PREFIX).removesuffix("-ms")] = int(value) / 1000
    return facts
