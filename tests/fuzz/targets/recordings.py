"""Recordings, as somebody else sends one: read, turned into messages, and made into a test."""

import ast
import tempfile
from pathlib import Path

from grpc_tool_bridge.testing.recording.made_tests import write_test
from grpc_tool_bridge.testing.recording.recording import Recording
from grpc_tool_bridge.testing.recording.settling import RecordingError

REFUSALS = (RecordingError,)


def fuzz(data: bytes) -> None:
    """Reads a recording; the test that is made of it is a program."""
    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder) / "run.jsonl", Path(folder) / "test_run.py"
        path.write_bytes(data)
        recording = Recording(path)
        recording.model_answers()
        write_test(path, made, [])
        ast.parse(made.read_text(encoding="utf-8"))
