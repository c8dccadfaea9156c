"""Durable stores: what keeps the state of a hub beyond the life of its process."""

from grpc_tool_bridge.stores.urls import make_store

__all__ = ["make_store"]
