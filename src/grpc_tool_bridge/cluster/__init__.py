"""Hubs that are one bridge, over NATS with JetStream; the extra ``cluster`` brings what it needs."""
