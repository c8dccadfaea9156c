"""The command line: ``grpc-tool-bridge``."""

from grpc_tool_bridge.cli.app import main

__all__ = ["main"]
