"""The base of ``ToolContext``, by which a signature knows the parameter that gets it."""


class CallContext:
    """Base of ToolContext: a parameter of such a type is filled in by the bridge."""
