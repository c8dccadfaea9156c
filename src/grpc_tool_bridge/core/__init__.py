"""The hub without its transports: sessions, tools, variables and the one call path."""
