"""What goes over the wire for each kind of call is what was recorded before.

``pytest tests/integration/test_transcripts.py --record-transcripts`` writes the recordings anew. That is for a change
that is meant to change the wire, and for nothing else; what changes in the files is then part of what is reviewed.
"""

import difflib
from importlib import import_module
from pathlib import Path

import pytest

from integration.transcript_scenarios import SCENARIOS
from integration.transcript_stage import Transport, record

KINDS = ("sessions", "tools", "failures", "streams", "workers", "variables", "agents")
for kind in KINDS:
    import_module(f"integration.transcripts_of_{kind}")

RECORDINGS = Path(__file__).parent / "transcripts"
CASES = [(name, transport) for name, (_, transports) in SCENARIOS.items() for transport in transports]


def recording_of(name: str, transport: Transport) -> Path:
    return RECORDINGS / f"{name}.{transport}.txt"


@pytest.mark.parametrize(("name", "transport"), CASES, ids=[f"{name}-{transport}" for name, transport in CASES])
async def test_the_wire_is_as_it_was_recorded(request: pytest.FixtureRequest, name: str, transport: Transport) -> None:
    scenario, _ = SCENARIOS[name]
    seen = await record(scenario, transport)
    recording = recording_of(name, transport)
    if request.config.getoption("--record-transcripts"):
        recording.write_text(seen)
    before = recording.read_text() if recording.exists() else ""
    diff = difflib.unified_diff(before.splitlines(), seen.splitlines(), str(recording.name), "seen now", lineterm="")
    if seen != before:
        pytest.fail("what goes over the wire has changed:\n" + "\n".join(diff), pytrace=False)


def test_every_recording_has_its_scenario() -> None:
    assert {path.name for path in RECORDINGS.iterdir()} == {recording_of(*case).name for case in CASES}
