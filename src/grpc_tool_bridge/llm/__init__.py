"""Values, names and errors as text for language models."""
