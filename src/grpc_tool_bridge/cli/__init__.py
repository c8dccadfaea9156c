"""The command line: ``grpc-tool-bridge``."""

import os

# Before gRPC is loaded, which reads it then: its own log lines would stand beside the one that says what was wrong.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from grpc_tool_bridge.cli.app import main

__all__ = ["main"]
