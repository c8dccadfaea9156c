"""Runs the tools of this process, whether it is a hub or a worker."""
