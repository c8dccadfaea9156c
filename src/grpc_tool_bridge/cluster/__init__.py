"""Hubs that are one bridge over NATS JetStream: their state, their leases, and the links between them."""
