"""Names that clients choose: of sessions, variables, streams, runs, workers and keys."""

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, shown


def check_name(name: str, what: str) -> None:
    """Checks a name that others will read: 1 to 256 printable characters.

    Raises:
        ValidationError: It is not.
    """
    if not name or len(name) > MAX_NAME_CHARS:
        said = f"{name[:32]!r}…" if name else "empty"
        raise ValidationError(f"{what} has 1 to {MAX_NAME_CHARS} characters; this one has {len(name):,} ({said})")
    if not name.isprintable():
        bad = next(character for character in name if not character.isprintable())
        raise ValidationError(f"{what} has printable characters only; {shown(name)} has U+{ord(bad):04X}")


def clip(text: str) -> str:
    """Shortens a name that came from outside for the text of an error."""
    return text if len(text) <= MAX_NAME_CHARS else f"{text[:64]}…"
