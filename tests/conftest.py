"""What every test can use, and what holds for the whole run."""

import os

import pytest
from hypothesis import settings

from support.parallel import runs_tests

_RULES = ("heap", "leftovers", "limits", "loops", "names", "needs", "terminal")
pytest_plugins = ["pytester", *(f"support.{name}" for name in _RULES)]

# How long an example takes is the machine's business; ``make soak`` asks for many more of them.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.register_profile("soak", settings.get_profile("suite"), max_examples=5_000)
settings.load_profile(os.environ.get("TEST_PROFILE", "suite"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what is written anew on purpose only; see tests/integration/test_transcripts.py."""
    parser.addoption(
        "--record-transcripts",
        action="store_true",
        help="write the transcripts of tests/integration/transcripts anew, where the wire is meant to change",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keeps coverage to the processes that run tests; what they start runs as fast as it does for a user."""
    if runs_tests(config):
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            os.environ.pop(name, None)
