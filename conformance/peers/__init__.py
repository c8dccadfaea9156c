"""Peers that the runner tests."""
