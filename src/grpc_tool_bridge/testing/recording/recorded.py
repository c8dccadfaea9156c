"""A hub that a test records once, and afterwards plays from the recording."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import ToolSource
from grpc_tool_bridge.testing.background import running_hub
from grpc_tool_bridge.testing.mock_server import MockBridgeServer
from grpc_tool_bridge.testing.recording.recorder import Recorder

# When a hub is recorded: never; if there is no recording; always.
MODES = ("none", "once", "all")

_UNSAFE = re.compile(r"[^\w.\[\]=-]+")


@dataclass(frozen=True, slots=True)
class RecordedHub:
    """What a test calls.

    Attributes:
        address: Where it listens.
        path: The recording.
        is_recording: Whether it is a real hub that is being recorded; else it plays the recording.
    """

    address: str
    path: Path
    is_recording: bool


def path_of(test_file: Path, name: str) -> Path:
    """Returns where the recording of a test is: in the folder ``recordings`` beside the test's file."""
    return test_file.parent / "recordings" / test_file.stem / f"{_UNSAFE.sub('_', name)}.jsonl"


@contextmanager
def recorded_hub(
    path: Path,
    mode: str,
    *,
    tools: Iterable[ToolSource],
    settings: Settings,
    agents: Any = None,
    redact: Iterable[str] = (),
) -> Iterator[RecordedHub]:
    """Runs a hub and records it, or plays the recording.

    Args:
        path: The recording.
        mode: "none": plays it; "once": records it if it is not there; "all": records it again.
        tools: The tools of the hub.
        settings: Its settings.
        agents: As for ``BridgeServer``.
        redact: As for ``Recorder``.

    Raises:
        FileNotFoundError: The mode is "none", and there is no recording.
        AssertionError: At the end: something was called differently than recorded.
    """
    if mode == "none" and not path.exists():
        raise FileNotFoundError(f"there is no recording {path}; run the test once with --bridge-record-mode=once")
    if mode == "all" or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with running_hub(
            tools, settings, agents=agents, recorder=Recorder(path, redact=(*settings.record_redact, *redact))
        ) as hub:
            yield RecordedHub(hub.address, path, is_recording=True)
        return
    with MockBridgeServer.from_recording(path) as server:
        yield RecordedHub(server.address, path, is_recording=False)
        found = "\n".join(server.mismatches)
    assert not found, f"{found}\n(to record it again: --bridge-record-mode=all)"  # noqa: S101 - for pytest


def remove(path: Path) -> None:
    """Removes a recording and what lies beside it."""
    for file in (path, Path(f"{path}.times")):
        file.unlink(missing_ok=True)
    values = Path(f"{path}.values")
    for file in values.glob("*.json"):
        file.unlink()
    if values.is_dir():
        values.rmdir()
