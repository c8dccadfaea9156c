"""The options of ``serve`` for a recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    from grpc_tool_bridge.config import Settings
    from grpc_tool_bridge.core.interfaces import Recorder

_PANEL = "Recording"

RecordOption = Annotated[
    Path | None,
    Option(
        "--record",
        metavar="FILE",
        help="Record what clients and the hub say to one another in this file, without secrets. A recording that is "
        "there is replaced.",
        panel=_PANEL,
    ),
]
RedactOption = Annotated[
    list[str] | None,
    Option(
        "--redact",
        metavar="NAME",
        help="Do not record the values of this name, such as of an argument or a key; * and ? match as in file names. "
        "Repeatable. Also the setting record_redact.",
        panel=_PANEL,
    ),
]
RedactPatternOption = Annotated[
    list[str] | None,
    Option(
        "--redact-pattern",
        metavar="REGEX",
        help="Do not record what this regular expression matches in any text. Repeatable. Also the setting "
        "record_redact_patterns.",
        panel=_PANEL,
    ),
]


def check_redaction(record: Path | None, names: list[str] | None, patterns: list[str] | None) -> None:
    """Checks that something is recorded if something is to be left out.

    Raises:
        ArgumentError: It is not.
    """
    if record is None and (names or patterns):
        raise ArgumentError("--redact and --redact-pattern: for recordings only; give --record FILE, too")


def make_recorder(
    record: Path | None, settings: "Settings", names: list[str] | None, patterns: list[str] | None
) -> "Recorder | None":
    """Returns the recorder of a hub; None if nothing is recorded.

    Raises:
        ArgumentError: The file cannot be written, or a pattern is not valid.
    """
    if record is None:
        return None
    from grpc_tool_bridge.testing.recording.recorder import Recorder as FileRecorder

    try:
        return FileRecorder(
            record,
            redact=(*settings.record_redact, *(names or ())),
            redact_patterns=(*settings.record_redact_patterns, *(patterns or ())),
        )
    except OSError as error:
        raise ArgumentError(f"--record {record}: {error.strerror or error}") from None
    except ValueError as error:
        raise ArgumentError(f"--redact-pattern: {error}") from None
