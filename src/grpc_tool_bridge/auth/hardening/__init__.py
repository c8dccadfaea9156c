"""What a hub's settings leave open: a list of checks, none of which needs the hub."""
