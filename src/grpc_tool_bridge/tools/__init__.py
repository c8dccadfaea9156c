"""The parts of ``@tool``: a signature read, described, and compiled into a binder."""
