"""The durable store of a hub in a cluster, and the sessions that it owns."""
