"""What the tests of every kind use, and what holds for the whole run."""
