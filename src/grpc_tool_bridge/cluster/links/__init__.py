"""Links between hubs, over NATS."""
