"""The official conformance suite of MCP, against a hub and against what takes servers in.

Each check passes, or mcp_conformance.toml says why it is no part of the job.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.mcp_conformance_client import playing
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

pytestmark = [needs_mcp_programs, pytest.mark.xdist_group("mcp-conformance")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running([sys.executable, str(TOOLS)]) as hub:
        yield f"http://{announced(hub)['http_address']}/mcp"


async def run_suite(side: str, version: str, folder: Path, *words: str) -> list[str]:
    """Runs the suite; returns what is wrong."""
    command = conformance_command(side, version, folder, words)
    suite = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder, env=environment()
    )
    try:
        async with asyncio.timeout(3 * PATIENCE):
            out, _ = await suite.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            suite.kill()
    assert b"SUMMARY" in out, out.decode()
    return judge(read_checks(folder), LIST.names(side, version), required_scenarios(side, version))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_hub_is_what_the_protocol_wants_of_a_server(url: str, version: str, tmp_path: Path) -> None:
    wrong = await run_suite("server", version, tmp_path, "--url", url)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_takes_servers_in_is_what_the_protocol_wants_of_a_client(version: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = f"{sys.executable} -I -S {HERE / 'mcp_conformance_ask.py'} {path}"
    async with playing(path):
        wrong = await run_suite("client", version, tmp_path, "--command", command)
    assert not wrong, "\n".join(wrong)


def test_each_exception_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in LIST.reasons())
