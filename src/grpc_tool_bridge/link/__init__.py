"""The link's protocol, its two ends and the calls on it."""
