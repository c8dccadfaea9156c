"""gRPC services whose methods become tools in tests."""
