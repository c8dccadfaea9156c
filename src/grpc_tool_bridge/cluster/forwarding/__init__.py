"""Requests for sessions of other hubs, and those that other hubs send."""
