"""gRPC services as tools: their methods, by the descriptors of the services."""
