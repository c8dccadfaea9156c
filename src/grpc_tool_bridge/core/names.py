"""Names that clients choose, such as those of sessions, variables, streams and workers."""

import re

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, shown

# What a reader cannot see, or takes for something else: controls, marks of direction, spaces that are not U+0020.
# A rule of its own, since what Python calls printable is different from version to version.
_NOT_PRINTABLE = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffe-\uffff"
)
NAME_PATTERN = f"^[^{_NOT_PRINTABLE}]*$"
# Surrogates and tags are apart, since they have no place in a pattern of a JSON Schema.
_REFUSED = re.compile(rf"[{_NOT_PRINTABLE}\ud800-\udfff\U000e0000-\U000e00ff]")


def check_name(name: str, what: str) -> None:
    """Checks that a name has 1 to 256 characters, all printable.

    Raises:
        ValidationError: It does not.
    """
    if not name or len(name) > MAX_NAME_CHARS:
        said = f"{name[:32]!r}…" if name else "empty"
        raise ValidationError(f"{what} must have 1 to {MAX_NAME_CHARS} characters; this one has {len(name):,} ({said})")
    if not name.isprintable() and (bad := _REFUSED.search(name)):
        raise ValidationError(f"{what} must have only printable characters; {shown(name)} has U+{ord(bad[0]):04X}")


def clip(text: str) -> str:
    """Shortens a name from a peer for an error text."""
    return text if len(text) <= MAX_NAME_CHARS else f"{text[:64]}…"
