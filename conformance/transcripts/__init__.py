"""The transcripts of links, each of which this bridge's own link plays as it must."""

from typing import Any

from conformance.transcripts.calls import calls
from conformance.transcripts.cancellations import cancellations
from conformance.transcripts.events import events
from conformance.transcripts.parts import parts
from conformance.transcripts.sessions import sessions
from conformance.transcripts.streams import streams
from conformance.transcripts.violations import violations


def transcript_vectors() -> list[dict[str, Any]]:
    """Returns every transcript."""
    groups = (calls, streams, cancellations, parts, events, sessions, violations)
    return [script.vector() for group in groups for script in group()]
