"""Who callers are, what they may do, what was done, and what is kept secret."""
