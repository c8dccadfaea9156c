"""A pytest that a test runs in a process of its own."""

import sys

# Plugins of other packages that are installed here: each run would import them, which takes longer than the run.
_NOT_USED = ("benchmark", "cacheprovider", "langsmith_plugin", "locust", "schemathesis")
OPTIONS = [word for name in _NOT_USED for word in ("-p", f"no:{name}")]
PYTEST = [sys.executable, "-m", "pytest", *OPTIONS]
