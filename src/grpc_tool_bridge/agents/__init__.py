"""The runtime of agents: ``dspy.ReAct`` over the tools of a session.

Beside it, only ``adapters.dspy`` and ``testing`` import DSPy.
"""

import os

# litellm, which DSPy imports for some models, fetches a table of prices then, unless it is told to take its own.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
