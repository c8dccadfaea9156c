"""The command ``open``: a browser shows the dashboard of a hub. The browser is a program that writes down its URL."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from integration.test_cli import TOKEN, Cli, Start, popen, read_line, runner, serving
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.patience import PATIENCE

# Python looks for browsers in PATH, and for a window by these.
WINDOWS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, Any]]:
    with serving("--http", "127.0.0.1:0", stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


class Browser:
    """What a test has for a browser.

    Attributes:
        environment: In which it is the one that is chosen.
        file: Where it writes URLs.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "opened.txt"
        program = folder / "browser"
        program.write_text(f'#!/bin/sh\necho "$1" >>{shlex.quote(str(self.file))}\n')
        program.chmod(0o755)
        self.environment = {**os.environ, "BROWSER": str(program)}

    @property
    def opened(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def run(*words: str, environment: dict[str, str]) -> tuple[str, str]:
    """Runs ``open`` in a process, which must succeed; returns its stdout and stderr."""
    with popen("open", *words, env=environment) as process:
        told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    return told


def test_the_browser_shows_the_dashboard_where_the_hub_says_that_it_is(hub: dict[str, Any], browser: Browser) -> None:
    told = run("--address", hub["address"], environment=browser.environment)
    assert browser.opened == [f"http://{hub['http_address']}/"]
    assert told == (f"http://{hub['http_address']}/\n", "")


def test_a_program_is_told_as_json(hub: dict[str, Any], browser: Browser) -> None:
    told, _ = run("--address", hub["address"], "--json", environment=browser.environment)
    assert json.loads(told) == {"url": f"http://{hub['http_address']}/", "opened": True}


def test_the_url_alone_is_printed_where_that_is_asked_for(hub: dict[str, Any], browser: Browser) -> None:
    told = run("--address", hub["address"], "--print", environment=browser.environment)
    assert told == (f"http://{hub['http_address']}/\n", "")
    assert browser.opened == []


def test_an_address_that_is_given_is_opened_and_no_hub_is_asked(browser: Browser) -> None:
    run("--address", "127.0.0.1:1", "--http", "https://hub.example.com", environment=browser.environment)
    assert browser.opened == ["https://hub.example.com/"]


@pytest.mark.parametrize("text_browsers", [False, True])
def test_without_a_browser_the_url_is_printed_with_what_to_do(
    hub: dict[str, Any], tmp_path: Path, text_browsers: bool
) -> None:
    for name in ("www-browser", "lynx") if text_browsers else ():
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in WINDOWS}
    environment |= {"PATH": str(tmp_path), "TERM": "xterm"}
    out, err = run("--address", hub["address"], environment=environment)
    assert out == f"http://{hub['http_address']}/\n"
    assert err == ("warning: found no browser on this machine that could show the dashboard; open the URL in one\n")


def test_a_browser_that_does_not_start_is_as_if_there_were_none(hub: dict[str, Any], browser: Browser) -> None:
    Path(browser.environment["BROWSER"]).write_text("#!/bin/sh\nexit 1\n")
    out, err = run("--address", hub["address"], environment={**browser.environment, "PATH": "", "DISPLAY": ""})
    assert out == f"http://{hub['http_address']}/\n"
    assert err.startswith("warning: found no browser")


def test_a_token_is_told_of_and_is_part_of_no_url(browser: Browser) -> None:
    environment = {**browser.environment, "TOOL_BRIDGE_TOKEN": TOKEN}
    with serving("--http", "127.0.0.1:0", env=environment, stderr=subprocess.DEVNULL) as (announced, _):
        told = run("--address", announced["address"], environment=environment)
    assert browser.opened == [f"http://{announced['http_address']}/"]
    assert told == (f"http://{announced['http_address']}/\n", "The page asks for the token of the hub\n")


def test_a_hub_with_tls_is_opened_over_tls(browser: Browser, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "hub.pem"))
    tls = ("--tls-cert", str(tmp_path / "hub.pem"), "--tls-key", str(tmp_path / "hub.pem"))
    with serving("--http", "127.0.0.1:0", *tls, stderr=subprocess.DEVNULL) as (announced, _):
        run("--address", announced["address"], "--tls-ca", str(tmp_path / "ca.pem"), environment=browser.environment)
    assert browser.opened == [f"https://{announced['http_address']}/"]


def test_a_hub_at_all_addresses_is_opened_by_the_one_that_reaches_it(browser: Browser) -> None:
    everywhere = ("--address", "0.0.0.0:0", "--http", "0.0.0.0:0", "--allow-insecure")
    with serving(*everywhere, stderr=subprocess.DEVNULL) as (announced, _):
        port = announced["address"].rpartition(":")[2]
        run("--address", f"localhost:{port}", environment=browser.environment)
    assert browser.opened == [f"http://localhost:{announced['http_address'].rpartition(':')[2]}/"]


def test_a_hub_without_http_is_one_line_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    cli: Cli = runner(capsys)
    with serving(stderr=subprocess.DEVNULL) as (announced, _):
        text = cli("open", "--address", announced["address"], code=2)
    assert text == (
        f"error: the hub at {announced['address']} serves no HTTP, and so no dashboard; start it with serve --http "
        '127.0.0.1:8080 (pip install "grpc-tool-bridge[http]")\n'
    )


def test_a_hub_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("open", "--address", "127.0.0.1:1", "--connect-timeout", "0.1", code=1)
    assert text.startswith("error: no hub answered at 127.0.0.1:1 (Connection refused)")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_serve_tells_people_where_the_dashboard_is(start: Start, host: str) -> None:
    process = start("serve", "--address", "127.0.0.1:0", "--http", f"{host}:0", "--allow-insecure")
    where, dashboard = read_line(process).split()[-1], read_line(process)
    process.send_signal(signal.SIGTERM)
    assert dashboard == f"Dashboard: {where.replace(host, '127.0.0.1')}/\n"


def test_serve_tells_of_no_dashboard_where_there_is_none(start: Start) -> None:
    process = start("serve", "--address", "127.0.0.1:0")
    read_line(process)
    assert read_line(process).startswith("No tools of its own")
