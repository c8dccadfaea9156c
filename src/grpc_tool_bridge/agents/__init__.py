"""The agent runtime: ``dspy.ReAct`` with the tools of a session.

Otherwise, only ``adapters.dspy`` and ``testing`` import DSPy.
"""

import os

# litellm, which DSPy imports for some models, would otherwise download a table of prices.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
