"""The bridge's tools for clients that speak the Model Context Protocol, by the official SDK."""
