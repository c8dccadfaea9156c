"""Faults that a hub injects on purpose, so that its users can test how their programs handle them."""
