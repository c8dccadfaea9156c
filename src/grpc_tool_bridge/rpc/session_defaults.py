"""The session defaults that a hub sends to the client that opens a session, for what the client leaves unset.

They travel in the trailing metadata of InitializeSession, in milliseconds; over a link, where a reply has none, in the
fields of a log record that comes before it.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

# Names the log record that carries a call's trailing metadata over a link.
METADATA_LOGGER = "tool-bridge.trailing-metadata"

_PREFIX = "tool-bridge-"
# More milliseconds than anyone waits.
_MAX_DIGITS = 15


class SessionDefaults(Protocol):
    """A hub that has session defaults."""

    def session_defaults(self, session_id: str) -> Mapping[str, int]:
        """Returns milliseconds by name; an empty mapping if there is no such session."""


def defaults_metadata(hub: SessionDefaults, session_id: str) -> tuple[tuple[str, str], ...]:
    """Returns the defaults of a session as metadata."""
    return tuple((_PREFIX + name, str(value)) for name, value in hub.session_defaults(session_id).items())


def read_defaults(metadata: Iterable[tuple[str, object]] | None) -> dict[str, float]:
    """Returns seconds by name; ignores all other metadata."""
    defaults = {}
    for key, value in metadata or ():
        if key.startswith(_PREFIX) and isinstance(value, str) and value.isdecimal() and len(value) <= _MAX_DIGITS:
            defaults[key.removeprefix(_PREFIX).removesuffix("-ms")] = int(value) / 1000
    return defaults
