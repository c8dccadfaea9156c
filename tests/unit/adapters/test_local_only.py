"""No peer can name an MCP server or a gRPC service: nothing that serves peers knows how to start one."""

import ast
from pathlib import Path

import pytest

import grpc_tool_bridge
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolWorker
from grpc_tool_bridge.tools.external import external_tool
from support.waiting import soon

PACKAGE = Path(grpc_tool_bridge.__file__).parent
# By adapter, the modules that use it: the command line. Else a program's own code calls it.
ALLOWED = {
    "mcp": {"cli/approve.py", "cli/imported_tools.py", "cli/mcp_options.py", "cli/named_sources.py"},
    "grpc": {"cli/grpc_checks.py", "cli/grpc_options.py", "cli/imported_tools.py", "cli/named_sources.py"},
}


@pytest.mark.parametrize("adapter", ALLOWED)
def test_only_the_command_line_and_a_programs_own_code_name_them(adapter: str) -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(f"adapters/{adapter}/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(module.startswith(f"grpc_tool_bridge.adapters.{adapter}") for module in modules):
                found.add(name)
    assert found <= ALLOWED[adapter]


def test_the_wire_has_no_word_for_a_command() -> None:
    text = (PACKAGE.parents[1] / "proto" / "dspex_bridge.proto").read_text(encoding="utf-8")
    fields = [line.strip() for line in text.splitlines() if line.strip().endswith(";")]
    assert not [line for line in fields if any(word in line.split() for word in ("command", "argv", "executable"))]


async def test_metadata_of_a_peer_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "started"
    metadata = {"mcp.server": f"touch {file}", "mcp.tool": "call", "mcp": f"touch {file}", "command": f"touch {file}"}

    async def run(*_: object) -> str:
        return "of the worker"

    tool = external_tool("t", "", run, input_schema={}, metadata=metadata)
    async with BridgeServer() as hub, ToolWorker(hub.address, tools=[tool]), GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        assert await soon(bridge.tools["t"]()) == "of the worker"
    assert not file.exists()
