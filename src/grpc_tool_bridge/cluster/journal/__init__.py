"""What is written of a session, and what a chain of it says."""
