"""The store that a URL names."""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from grpc_tool_bridge.config.defaults import MEMORY_STORE
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.errors import ValidationError

FORMS = "memory: (nothing is kept), or sqlite:////absolute/path/hub.db"


def make_store(url: str) -> DurableStore | None:
    """Returns the store that a URL names; None for ``memory:``, where nothing outlives the process.

    Raises:
        ValidationError: No store has such a URL.
    """
    if url == MEMORY_STORE:
        return None
    path = sqlite_path(url)
    from grpc_tool_bridge.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - who keeps nothing needs no SQLite

    return SqliteStore(path)


def store_path(named: str) -> Path:
    """Returns the file of a store that is named by its URL or by the path of its file.

    Raises:
        ValidationError: It is neither.
    """
    if named == MEMORY_STORE:
        raise ValidationError(f"{MEMORY_STORE} keeps nothing; name the store of a hub, {FORMS.partition('or ')[2]}")
    if "://" in named or named.startswith("sqlite:"):
        return sqlite_path(named)
    if not named or named.endswith("/") or "\0" in named:
        raise ValidationError(f"{named!r} names no file; give the path of a store, or its URL")
    return Path(named)


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
    if not Path(path).is_absolute():
        # A service that is started elsewhere would begin with another, empty store.
        raise ValidationError(
            f"{url!r} is relative to the directory that the hub is started in; four slashes come before an absolute "
            f"path, such as sqlite:///{quote(str(Path(path).absolute()))}"
        )
    return Path(path)
