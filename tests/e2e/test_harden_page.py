"""What the page about hardening shows is what happens: each of its steps is made, and doctor says what it says."""

import datetime as dt
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from e2e.test_docs import DOCS, blocks
from grpc_tool_bridge.auth.hardening.checklist import RULES
from support.client_certificates import authority, pem_of
from support.patience import PATIENCE
from support.programs import environment

PAGE = DOCS / "how-to" / "harden.md"
COLUMNS = re.compile(r"^(ok|warn|fail) +(\S+) +(.+)$", re.MULTILINE)


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    words = ["bash", "-c", script]
    env = environment(NO_COLOR="1")
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what an authority gives."""
    hub = tmp_path / "hub"
    issued = authority("ours").files(hub, x509.DNSName("hub.example"), usage=None, ends=dt.timedelta(days=90))
    issued["cert"].rename(hub / "hub.crt")
    issued["key"].rename(hub / "hub.key")
    clients = authority("clients of the page")
    (hub / "clients-ca.crt").write_bytes(pem_of(clients.cert))
    (hub / "clients.crl").write_bytes(pem_of(clients.crl()))
    for path in hub.iterdir():
        path.chmod(0o600)
    return tmp_path


def test_each_step_ends_as_the_page_shows(folder: Path) -> None:
    scripts, shown = blocks(PAGE, "sh"), blocks(PAGE, "text")
    assert len(scripts) == len(shown)
    done = run("true", folder)
    for script, text in zip(scripts, shown, strict=True):
        done = run(script, folder)
        for line in text.splitlines():
            assert line in done.stdout.splitlines(), done.stdout + done.stderr
        assert done.returncode == (1 if COLUMNS.search(text) and "\nfail" in f"\n{text}" else 0), done.stderr

    # The user is the one who runs the tests. The authority of the tests is one of a day.
    left = {(status, name) for status, name, _ in COLUMNS.findall(done.stdout) if status != "ok"}
    assert left <= {("warn", "user"), ("warn", "tls_client_ca")}


def test_the_command_that_starts_a_hub_is_the_one_that_is_checked() -> None:
    (start,) = blocks(PAGE, "bash")
    checked, started = start.replace("exec ", "").split("&&")

    assert " ".join(checked.split()).replace("doctor --security", "serve") in " ".join(started.split())


def test_the_page_names_each_check() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("## What it checks") :]
    named = set(re.findall(r"`([a-z_]+)`", table))
    sources = "".join(Path(rule.__code__.co_filename).read_text(encoding="utf-8") for rule in RULES)
    made = set(re.findall(r'(?:Finding|refused)\(\s*"([a-z_]+)"', sources))
    files = set(re.findall(r'^        "([a-z_]+)": ', sources, re.MULTILINE))

    assert made | files | {"settings"} == named
