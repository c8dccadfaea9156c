"""What stands behind ``@tool``: a signature read, described, and compiled into a binder."""
