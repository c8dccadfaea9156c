"""Keys that seal what a durable store keeps of secret variables."""
