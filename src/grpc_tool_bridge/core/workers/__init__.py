"""The workers of a hub, and which of them runs a call."""
