"""The store that a URL names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.stores.sqlite.store import SqliteStore

MEMORY = "memory:"
FORMS = "memory: (nothing is kept), or sqlite:////absolute/path/hub.db"


def make_store(url: str) -> DurableStore | None:
    """Returns the store that a URL names; None for ``memory:``, where nothing outlives the process.

    Raises:
        ValidationError: No store has such a URL.
    """
    return None if url == MEMORY else SqliteStore(sqlite_path(url))


def sqlite_path(url: str) -> Path:
    """Returns the path in a URL of an SQLite store, which is written as SQLAlchemy has it.

    Raises:
        ValidationError: It is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise ValidationError(f"{url!r} is no store; give {FORMS}")
    if parts.netloc or not url.startswith("sqlite:///"):
        raise ValidationError(
            f"{url!r} names a host; three slashes come before the path: sqlite:////absolute/path/hub.db"
        )
    if parts.query or parts.fragment:
        raise ValidationError(f"{url!r} has a '?' or '#'; write them as %3F and %23 in a path")
    path = unquote(url.removeprefix("sqlite:///"))
    if not path or path == ":memory:" or path.endswith("/") or "\0" in path:
        raise ValidationError(
            f"{url!r} names no file; give sqlite:////absolute/path/hub.db, or memory: to keep nothing"
        )
    return Path(path)
