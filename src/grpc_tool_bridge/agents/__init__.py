"""The runtime of agents: ``dspy.ReAct`` over the tools of a session.

Beside it, only ``edges.dspy`` and ``testing`` import DSPy.
"""
