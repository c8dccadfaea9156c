"""A run in several processes: one gives tests to the others."""

import pytest


def runs_tests(config: pytest.Config) -> bool:
    """Tells a process that runs tests from the one that gives them to others."""
    gives = config.getoption("numprocesses", None) or config.getoption("tx", None)
    return hasattr(config, "workerinput") or not gives
