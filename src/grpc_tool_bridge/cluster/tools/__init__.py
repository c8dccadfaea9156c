"""Tools that hubs offer one another, and calls that they run for one another."""
