"""gRPC at both ends: the servicer, the stubs, channels and statuses."""
