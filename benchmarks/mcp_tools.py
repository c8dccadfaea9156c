"""The tool that the bridge serves to MCP clients without a hub: ``grpc-tool-bridge mcp --tools``."""

from benchmarks import work
from grpc_tool_bridge import tool

add = tool(work.add)
