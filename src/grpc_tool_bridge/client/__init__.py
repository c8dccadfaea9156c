"""A bridge and what it is made of: calls, proxies, variables, agents, and what goes on over the next connection."""
