"""Files that others can read, change or replace."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.hardening.files import data_files, secret_files, trusted_files
from unit.auth.hardening.deployments import found, hub, secret_file, texts


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize(("mode", "status"), [(0o600, "ok"), (0o640, "warn"), (0o644, "fail"), (0o602, "fail")])
@pytest.mark.parametrize("name", ["tokens_file", "audit_key_file", "secrets_key_file", "nats_tls_key"])
def test_a_secret_is_read_by_its_owner_alone(folder: Path, name: str, mode: int, status: str) -> None:
    path = folder / "secret"
    path.write_text("s")
    path.chmod(mode)
    more = {"nats_tls_cert": "cert.pem"} if name == "nats_tls_key" else {}
    made = hub({name: path, **more}, uid=path.stat().st_uid)

    assert found(secret_files, made) == [(name, status)]
    refuses = status == "fail" and name != "nats_tls_key"
    assert ("serve refuses to start" in texts(secret_files, made)) is refuses


@pytest.mark.parametrize(("mode", "status"), [(0o644, "ok"), (0o664, "warn"), (0o646, "fail")])
def test_what_the_hub_trusts_is_changed_by_its_owner_alone(folder: Path, mode: int, status: str) -> None:
    path = folder / "policy.toml"
    path.write_text("")
    path.chmod(mode)

    assert found(trusted_files, hub({"policy": path}, uid=path.stat().st_uid)) == [("policy", status)]
    assert found(trusted_files, hub(config=path, uid=path.stat().st_uid)) == [("config", status)]


def test_a_folder_in_which_everybody_writes_is_told(folder: Path) -> None:
    inner = folder / "open"
    inner.mkdir()
    path = inner / "policy.toml"
    path.write_text("")
    path.chmod(0o600)
    inner.chmod(0o777)

    assert found(trusted_files, hub({"policy": path}, uid=path.stat().st_uid)) == [("policy", "fail")]
    assert found(data_files, hub(store=inner / "hub.db")) == [("store", "fail")]


def test_a_file_of_another_user_is_told(folder: Path) -> None:
    path = secret_file(folder, "policy.toml")
    if os.geteuid() == 0:
        os.chown(path, 1234, 1234)

    assert found(trusted_files, hub({"policy": path}, uid=4321)) == [("policy", "warn")]


def test_what_is_missing_is_told_and_what_will_be_made_is_no_fault(folder: Path) -> None:
    assert "serve refuses to start" in texts(secret_files, hub({"tokens_file": folder / "none"}))
    assert found(data_files, hub(store=folder / "hub.db")) == [("store", "ok")]
    assert found(data_files, hub(store=folder / "nowhere" / "hub.db")) == [("store", "fail")]
    audit = {"audit": f"file:{folder / 'audit.log'}", "audit_key_file": "key"}
    assert found(data_files, hub(audit)) == [("audit", "ok")]


def test_data_that_others_read_is_told(folder: Path) -> None:
    path = secret_file(folder, "hub.db")
    folder.chmod(0o755)
    path.chmod(0o644)

    made = hub(store=path, uid=path.stat().st_uid)
    assert found(data_files, made) == [("store", "fail")]
    assert "serve refuses" not in texts(data_files, made)
