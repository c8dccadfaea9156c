"""The stores that URLs and paths name."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from grpc_tool_bridge import BridgeServer, LocalToolBridge
from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.stores.urls import is_nats, make_store, sqlite_path, store_path
from support.patience import PATIENCE


def test_the_url_of_nothing_makes_no_store() -> None:
    assert make_store("memory:") is None


def test_four_slashes_begin_an_absolute_path() -> None:
    made = make_store("sqlite:////srv/hub.db")
    assert isinstance(made, SqliteStore)
    assert made.path == Path("/srv/hub.db")
    assert sqlite_path("sqlite:////srv/a%20b%3F.db") == Path("/srv/a b?.db")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgres://host/hub", "'postgres://…' is no store; give memory:"),
        ("hub.db", "'hub.db' is no store; give memory:"),
        ("/srv/a b.db", "is no store; the URL of that file is sqlite:////srv/a%20b.db$"),
        ("sqlite://host/hub.db", "names the host 'host'; three slashes"),
        ("sqlite:", "is short; three slashes"),
        ("sqlite://", "is short; three slashes"),
        ("sqlite:/srv/hub.db", "is short; three slashes"),
        ("sqlite:///srv/hub.db", "four slashes come before an absolute path: sqlite:////srv/hub.db, or here "),
        ("sqlite:////srv/hub.db?mode=ro", "has a '\\?' or '#'"),
        ("sqlite:///", "names no file"),
        ("sqlite:///hub.db", "is relative to the directory that the hub is started in; four slashes"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////srv/", "names no file"),
    ],
)
def test_any_other_url_is_refused_with_the_form_that_it_needs(url: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        make_store(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        make_store("postgresql://user:hunter2@host/hub")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["nats://host:4222", "tls://user:hunter2@a,b:4223/main"])
def test_a_url_of_nats_is_known_and_names_no_store_of_one_hub(url: str) -> None:
    assert is_nats(url)
    for look in (make_store, store_path):
        with pytest.raises(ValidationError, match="store in NATS") as caught:
            look(url)
        assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["memory:", "sqlite:////srv/hub.db", "nats", "nats:host", "/srv/nats://x"])
def test_any_other_url_is_not_one_of_nats(url: str) -> None:
    assert not is_nats(url)


def test_more_slashes_than_needed_are_one_path() -> None:
    assert str(sqlite_path("sqlite://///srv/hub.db")) == "/srv/hub.db"


@pytest.mark.parametrize("make", [BridgeServer, LocalToolBridge])
@pytest.mark.parametrize("given", [Path("/srv/hub.db"), 5, SqliteStore])
def test_what_is_neither_a_url_nor_a_store_is_refused(make: Callable[..., object], given: object) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^store is .*; it must be the URL of a store, such as sqlite:////"):
        make(store=given)


def test_a_relative_url_is_refused_with_the_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValidationError) as caught:
        make_store("sqlite:///a%20b.db")
    given = caught.value.message.rpartition("or here ")[2]
    assert sqlite_path(given) == tmp_path / "a b.db"


def test_a_store_is_named_by_its_url_or_by_its_path() -> None:
    assert store_path("sqlite:////srv/hub.db") == store_path("/srv/hub.db") == Path("/srv/hub.db")
    assert store_path("hub.db") == Path("hub.db")


@pytest.mark.parametrize("named", ["memory:", "", "folder/", "postgres://host/hub", "sqlite:hub.db"])
def test_what_names_no_file_is_refused(named: str) -> None:
    with pytest.raises(ValidationError):
        store_path(named)


@pytest.mark.parametrize("module", ["grpc_tool_bridge.server", "grpc_tool_bridge.cli.serve_run"])
def test_a_hub_that_keeps_nothing_imports_no_sqlite(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert "sqlite3" not in ran.stdout.split()
