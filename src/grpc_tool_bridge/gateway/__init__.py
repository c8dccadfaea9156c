"""A hub over HTTP: the same methods, for programs without gRPC."""
