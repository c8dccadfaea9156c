"""Defaults that both ends know. Durations are in seconds, sizes in bytes."""

DEFAULT_ADDRESS = "127.0.0.1:50051"
# The store of a hub that keeps nothing beyond its process.
MEMORY_STORE = "memory:"
# Of URLs of NATS, where hubs keep their state together.
NATS_SCHEMES = ("nats", "tls")
# Concurrent calls of a worker that sets no capacity.
DEFAULT_CAPACITY = 100
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
MAX_MESSAGE_NODES = 250_000
MAX_HUB_BYTES = 1024 * 1024 * 1024
# Of the name of a hub among others.
MAX_HUB_NAME_CHARS = 100
MAX_SESSION_BYTES = 256 * 1024 * 1024
MAX_PEER_BYTES = 128 * 1024 * 1024
CALL_TIMEOUT = 30.0
REQUEST_TIMEOUT = 30.0
STREAM_TIMEOUT = 300.0
BATCH_TIMEOUT = 600.0
