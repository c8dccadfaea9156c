"""What the page on failing networks shows is what happens."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.test_docs import DOCS, blocks
from integration.test_cli import Start, read_line
from integration.test_cli import start as start  # noqa: PLC0414 - a fixture
from support.needs import needs
from support.patience import PATIENCE
from support.pytests import PYTEST

ROOT = DOCS.parent
PAGE = DOCS / "how-to" / "test-failures.md"


@pytest.fixture
def announced(start: Start, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Starts what the page starts, at free ports."""
    (config,) = blocks(PAGE, "json")
    (command,) = blocks(PAGE, "sh")
    (tmp_path / "toxiproxy.json").write_text(config.replace("50052", "0"))
    program, *words = command.split()
    assert program == "grpc-tool-bridge"
    process = start(*words, "--port", "0", "--json", cwd=tmp_path)
    line = read_line(process)
    assert line, process.stderr.read() if process.stderr else "it ended"
    yield json.loads(line)
    process.terminate()
    assert process.wait(PATIENCE) == 0


def shell(text: str) -> str:
    return subprocess.run(["bash", "-ec", text], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


@needs("curl")
def test_the_commands_of_the_page_print_what_it_says(announced: dict[str, Any]) -> None:
    address = announced["address"]
    adding, undoing = (text.replace("localhost:8474", address) for text in blocks(PAGE, "bash"))
    (printed,) = blocks(PAGE, "text")
    assert shell(adding) == printed.rstrip("\n")
    assert shell(undoing) == ""
    (proxy,) = httpx.get(f"http://{address}/proxies").json().values()
    assert (proxy["name"], proxy["enabled"], proxy["toxics"]) == ("grpc", True, [])
    assert announced["seed"] == 7
    assert announced["proxies"] == [proxy]


def test_the_failure_suite_runs_against_a_hub_elsewhere_behind_a_failing_network(start: Start) -> None:
    serving, testing = blocks(PAGE, "shell")
    _, *words = serving.replace("127.0.0.1:50051", "127.0.0.1:0").split()
    hub = json.loads(read_line(start(*words, "--http", "127.0.0.1:0", "--json", cwd=ROOT, stderr=subprocess.DEVNULL)))
    words = ["chaos-proxy", "--port", "0", "--seed", "1", "--json"]
    api = httpx.Client(base_url=f"http://{json.loads(read_line(start(*words, stderr=subprocess.DEVNULL)))['address']}")
    with api:
        made = api.post("/proxies", json={"name": "grpc", "listen": "127.0.0.1:0", "upstream": hub["address"]}).json()
        for toxic in (
            {"type": "latency", "attributes": {"latency": 100}},
            {"type": "timeout", "toxicity": 0.1, "attributes": {"timeout": 500}},
        ):
            api.post("/proxies/grpc/toxics", json=toxic).raise_for_status()
        _, *words = testing.split()
        assert words == [".venv/bin/pytest", "tests/failure_modes"]
        ran = subprocess.run(
            [*PYTEST, *words[1:], "-k", "slicer-downstream or link_loss"],
            cwd=ROOT,
            env={**os.environ, "GRPC_ADDR": made["listen"], "HTTP_ADDR": hub["http_address"]},
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout
    assert f"GRPC_ADDR={made['listen']}: of the failure tests, only test_toxics.py runs against it" in ran.stdout
    assert " 2 passed" in ran.stdout


def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(blocks(DOCS / "how-to" / "write-a-tool.md")[0])
    (text,) = blocks(PAGE, "python")
    (tmp_path / "test_page.py").write_text(text)
    words = [*PYTEST, "-q", "--rootdir", str(tmp_path)]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stdout
