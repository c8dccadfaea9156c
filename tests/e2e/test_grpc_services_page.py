"""The page on gRPC services: its commands, with the service of ``examples/grpc_service``, print what it shows."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.test_docs import DOCS, blocks, run_in_shell
from support.programs import ROOT, announced, environment, running

PAGE = DOCS / "how-to" / "import-grpc-services.md"
ADDRESS = "127.0.0.1:5000"
SERVER = ROOT / "examples" / "grpc_service" / "server.py"


@pytest.fixture
def commands() -> list[str]:
    """The blocks of the page that are typed into a shell, in its order."""
    return blocks(PAGE, "sh")


@pytest.fixture
def shown() -> list[str]:
    """What the page says that they print."""
    return blocks(PAGE, "text")


@pytest.fixture
def service() -> Iterator[str]:
    """The address of the example."""
    with running([sys.executable, str(SERVER), "--address", "127.0.0.1:0"]) as process:
        yield address_of(process)


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    found = re.fullmatch(r"serving on (127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert found is not None
    return found[1]


def lines(text: str) -> list[str]:
    """Splits a text; figures, the width of columns and the address of the service are not told apart."""
    text = re.sub(r"\d[\d.]*", "N", text)
    return [re.sub(r"[ ─]+", " ", line).strip() for line in text.strip().splitlines()]


def typed(script: str, folder: Path, service: str, hub: str = "") -> str:
    """Runs what the page lets its reader type at the root of the repository."""
    script = script.replace(ADDRESS, service).replace("examples/", f"{ROOT}/examples/")
    return run_in_shell(script, folder, hub or "127.0.0.1:9")


def test_the_service_is_started_as_the_page_says(commands: list[str]) -> None:
    words = shlex.split(commands[0])
    assert words == ["python", str(SERVER.relative_to(ROOT)), "--address", ADDRESS]


def test_what_is_shown_of_a_service_before_it_is_taken_in(
    commands: list[str], shown: list[str], service: str, tmp_path: Path
) -> None:
    doctor, tools, described = (
        next(text for text in commands if text.startswith(begin) and ("--proto" in text) == is_described)
        for begin, is_described in (
            ("grpc-tool-bridge doctor", False),
            ("grpc-tool-bridge tools", False),
            ("grpc-tool-bridge tools", True),
        )
    )
    assert lines(typed(doctor, tmp_path, service)) == lines(shown[0])
    assert lines(typed(tools, tmp_path, service)) == lines(shown[1])
    assert lines(typed(described, tmp_path, service)) == lines(shown[3])


def test_each_kind_of_call_through_a_hub(commands: list[str], shown: list[str], service: str, tmp_path: Path) -> None:
    (serve,) = (text for text in commands if text.startswith("grpc-tool-bridge serve --grpc"))
    (calls,) = (text for text in commands if text.startswith("grpc-tool-bridge call"))
    words = [*shlex.split(serve.replace(ADDRESS, service)), "--address", "127.0.0.1:0", "--json"]
    with running(words, env=environment()) as process:
        hub = announced(process)
        assert hub["tools"] == ["inventory.GetItem", "inventory.ListItems", "inventory.Receive"]
        assert typed(calls, tmp_path, service, hub["address"]) == shown[2]


def test_the_settings_of_an_application_name_the_service(commands: list[str], service: str, tmp_path: Path) -> None:
    (command,) = (text for text in commands if "--print-config" in text)
    printed = json.loads(typed(command, tmp_path, service))
    assert printed["mcpServers"]["grpc-tool-bridge"]["args"][-3:] == ["mcp", "--grpc", f"inventory={service}"]


def test_without_reflection_the_protos_describe_the_service(tmp_path: Path) -> None:
    with running([sys.executable, str(SERVER), "--address", "127.0.0.1:0", "--no-reflection"]) as process:
        service = address_of(process)
        serve = ["grpc-tool-bridge", "serve", "--grpc", service, "--address", "127.0.0.1:0", "--json"]
        with running([*serve, "--proto", str(SERVER.parent)]) as hub:
            address = announced(hub)["address"]
            script = "grpc-tool-bridge call acme.inventory.v1.Inventory.GetItem --kwarg sku=cup-01 --json"
            assert json.loads(typed(script, tmp_path, service, address))["price_cents"] == 1200
        refused = subprocess.run(serve, env=environment(), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "it has no reflection" in refused.stderr
