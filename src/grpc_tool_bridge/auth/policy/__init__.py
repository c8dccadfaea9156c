"""What principals may do: rules, their file, and decisions."""
