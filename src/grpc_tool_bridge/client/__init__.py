"""A bridge and its parts: calls, proxies, variables, agents, reconnection."""
