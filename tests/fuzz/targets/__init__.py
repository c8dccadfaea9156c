"""What is fuzzed: each module here is a target.

A target has ``fuzz(data)``, which gives any bytes to code that reads what a peer sent, and ``REFUSALS``, the only
exceptions that this code may raise. Whatever else is raised is a fault, also an ``AssertionError`` of the target.
"""
