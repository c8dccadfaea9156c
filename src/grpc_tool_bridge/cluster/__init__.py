"""Hubs that are one bridge over NATS JetStream."""
