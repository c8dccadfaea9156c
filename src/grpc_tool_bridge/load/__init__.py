"""The load generator: calls a hub in a closed or an open loop, and measures how long the calls take."""
