"""A network that fails: TCP proxies with toxics, as Toxiproxy has them, and its HTTP API."""
