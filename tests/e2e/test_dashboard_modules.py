"""The modules of the dashboard that need no browser: their own tests, which Node runs."""

import subprocess
from pathlib import Path

import pytest

from support.needs import needs
from support.patience import TEST_LIMIT

TESTS = Path(__file__).parents[1] / "dashboard"

pytestmark = needs("node")


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.test.js")), ids=lambda path: path.name)
def test_a_module_does_what_its_tests_in_javascript_say(path: Path) -> None:
    done = subprocess.run(["node", "--test", path], capture_output=True, text=True, timeout=TEST_LIMIT, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n# pass 0\n" not in done.stdout
