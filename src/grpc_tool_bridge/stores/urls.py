"""The store that a URL names."""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from grpc_tool_bridge.config.defaults import MEMORY_STORE, NATS_SCHEMES
from grpc_tool_bridge.core.interfaces import DurableStore, ValueSealer
from grpc_tool_bridge.errors import ValidationError

ABSOLUTE = "sqlite:////absolute/path/hub.db"
FORMS = f"memory: (nothing is kept), {ABSOLUTE}, or nats://host:4222/CLUSTER"
A_STORE = f"the URL of a store, such as {ABSOLUTE}, or a DurableStore"


def is_nats(url: str) -> bool:
    """Returns whether a URL names NATS, where several hubs keep their state together; a server opens that itself."""
    return url.partition("://")[0] in NATS_SCHEMES and "://" in url


def make_store(url: str, sealer: ValueSealer | None = None) -> DurableStore | None:
    """Returns the store that a URL names; None for ``memory:``, where nothing outlives the process.

    Args:
        url: The URL.
        sealer: Seals what the store keeps of secret variables; None: it is stored as it is.

    Raises:
        ValidationError: No store has such a URL.
    """
    if url == MEMORY_STORE:
        return None
    if is_nats(url):
        raise ValidationError(
            "a store in NATS is that of a cluster of hubs; give its URL to serve, or to a BridgeServer"
        )
    path = sqlite_path(url)
    from grpc_tool_bridge.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - who keeps nothing needs no SQLite

    return SqliteStore(path, sealer=sealer)


def store_path(named: str) -> Path:
    """Returns the file of a store that is named by its URL or by the path of its file.

    Raises:
        ValidationError: It is neither.
    """
    if named == MEMORY_STORE:
        raise ValidationError(f"{MEMORY_STORE} keeps nothing; name the store of a hub, {ABSOLUTE}")
    if is_nats(named):
        raise ValidationError("a store in NATS has no file here; nats-server and its tools look after it")
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
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        raise ValidationError(_no_store(url))
    if not rest.startswith("///"):
        what = f"names the host {urlsplit(url).netloc!r}" if rest.strip("/") and rest.startswith("//") else "is short"
        raise ValidationError(f"{url!r} {what}; three slashes come before the path: {ABSOLUTE}")
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ValidationError(f"{url!r} has a '?' or '#'; write them as %3F and %23 in a path")
    path = unquote(url.removeprefix("sqlite:///"))
    if not path or path == ":memory:" or path.endswith("/") or "\0" in path:
        raise ValidationError(f"{url!r} names no file; give {ABSOLUTE}, or memory: to keep nothing")
    if not Path(path).is_absolute():
        # A service that is started elsewhere would begin with another, empty store.
        raise ValidationError(
            f"{url!r} is relative to the directory that the hub is started in; four slashes come before an absolute "
            f"path: {_url(Path('/', path))}, or here {_url(Path(path).absolute())}"
        )
    return Path(f"/{path.lstrip('/')}")


def _url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"


def _no_store(named: str) -> str:
    # A URL of a server may have a password in it.
    scheme, _, rest = named.partition("://")
    shown = repr(f"{scheme}://…") if rest else repr(named)
    for_path = f"; the URL of that file is {_url(Path(named))}" if named.startswith("/") else ""
    return f"{shown} is no store{for_path or f'; give {FORMS}'}"
