"""The guide names everything that is tested, and each of its commands tests something."""

import json
import re
import shlex

import pytest
from conformance.checks import SECTIONS
from conformance.client_checks import CLIENT_CHECKS
from conformance.hub_checks import HUB
from conformance.make import VECTORS
from conformance.peers.python_peer import ACTIONS
from conformance.run import ALL, parser
from conformance.worker_checks import WORKER_CHECKS

GUIDE = VECTORS.with_name("README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m conformance\.run --peer \"\$PEER\"(.*)$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("options", [options for options in COMMANDS if options])
def test_a_command_of_the_guide_tests_something(options: str) -> None:
    given = parser().parse_args(["--peer", "x", *shlex.split(options)])
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    names = {section: [vector["name"] for vector in vectors[section]] for section in SECTIONS}
    names[HUB] = [*CLIENT_CHECKS, *WORKER_CHECKS]
    assert all(any(given.name in name for name in names[section]) for section in given.only)


def test_the_guide_covers_every_section_and_every_group_of_checks() -> None:
    for section in ALL[:-1]:
        assert any(f"--only {section}" in options for options in COMMANDS), section
    for name in (*CLIENT_CHECKS, *WORKER_CHECKS):
        group = name.partition(":")[0]
        assert group == "client close" or any(f'--name "{group}"' in options for options in COMMANDS), group


def test_the_guide_names_every_group_of_transcripts() -> None:
    transcripts = json.loads(VECTORS.read_text(encoding="utf-8"))["transcripts"]
    groups = {vector["name"].partition(":")[0] for vector in transcripts}
    named = set(re.findall(r'--only transcripts --name "(\w+):"', GUIDE))
    assert groups - {"frame"} == named


def test_every_action_of_pythons_peer_is_in_the_guide() -> None:
    for action in ACTIONS:
        assert f"| `{action}` |" in GUIDE, action
