"""How much each principal may use of a hub."""
