"""The hub as an MCP server over gRPC: an experiment, by the proto that Google publishes."""
