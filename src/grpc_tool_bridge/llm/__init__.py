"""What a model reads and writes: values, names and errors as text."""
