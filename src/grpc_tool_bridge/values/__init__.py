"""A Python value as a message, and back."""
