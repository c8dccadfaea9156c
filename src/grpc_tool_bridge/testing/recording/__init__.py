"""Recordings: what clients and a hub said to one another, as a file that can be read, reviewed and replayed."""
