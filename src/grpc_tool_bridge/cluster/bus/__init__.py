"""The connection to NATS: appends that expect what comes before them, whole reads, watches."""
