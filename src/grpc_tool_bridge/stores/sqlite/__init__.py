"""The durable store in an SQLite file."""
