"""A hub over HTTP: the same methods, for whoever has no gRPC."""
