"""The agents of a hub, their runs, and the runtimes that run them."""
