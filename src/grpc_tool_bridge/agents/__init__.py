"""The runtime of agents: ``dspy.ReAct`` over the tools of a session. Nothing else of the package imports DSPy."""
