"""The official conformance suite of MCP, against a hub and against what takes servers in.

Each check passes, or mcp_conformance.toml says why it is no part of the job.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mcp_conformance import (
    VERSIONS,
    Exceptions,
    conformance_command,
    judge,
    read_checks,
    required_scenarios,
)
from support.mcp_programs import needs_mcp_programs
from support.patience import PATIENCE
from support.programs import announced, environment, running

HERE = Path(__file__).parent
TOOLS = HERE / "mcp_conformance_tools.py"
LIST = Exceptions(HERE / "mcp_conformance.toml")

pytestmark = needs_mcp_programs


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running([sys.executable, str(TOOLS)]) as hub:
        yield f"http://{announced(hub)['http_address']}/mcp"


def run_suite(side: str, version: str, folder: Path, *words: str) -> list[str]:
    """Runs the suite; returns what is wrong."""
    command = conformance_command(side, version, folder, words)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=4 * PATIENCE, check=False, env=environment(), cwd=folder
    )
    assert "SUMMARY" in done.stdout, done.stdout + done.stderr
    return judge(read_checks(folder), LIST.names(side, version), required_scenarios(side, version))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hub_is_what_the_protocol_says_of_a_server(url: str, version: str, tmp_path: Path) -> None:
    wrong = run_suite("server", version, tmp_path, "--url", url)
    assert not wrong, "\n".join(wrong)


def test_each_exception_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in LIST.reasons())
