"""Names that clients choose, such as those of sessions, variables, streams and workers."""

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, shown


def check_name(name: str, what: str) -> None:
    """Checks that a name has 1 to 256 characters, all printable.

    Raises:
        ValidationError: It does not.
    """
    if not name or len(name) > MAX_NAME_CHARS:
        said = f"{name[:32]!r}…" if name else "empty"
        raise ValidationError(f"{what} must have 1 to {MAX_NAME_CHARS} characters; this one has {len(name):,} ({said})")
    if not name.isprintable():
        bad = next(character for character in name if not character.isprintable())
        raise ValidationError(f"{what} must have only printable characters; {shown(name)} has U+{ord(bad):04X}")


def clip(text: str) -> str:
    """Shortens a name from a peer for an error text."""
    return text if len(text) <= MAX_NAME_CHARS else f"{text[:64]}…"
