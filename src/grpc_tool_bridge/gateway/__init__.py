"""A hub over HTTP and MCP: the same methods and tools, for programs without gRPC."""
