"""What a gRPC service may tell of itself at most."""

import re
from dataclasses import dataclass

MIB = 1024 * 1024

# What could move the cursor of a terminal, or begin another line of a log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on the description of one service; those on its messages are settings of the service.

    Attributes:
        descriptor_bytes: Bytes of all descriptors together.
        descriptor_parts: Parts of these descriptors, such as a field or a list, which all take memory however few bytes
            they are; counted where they come by reflection.
        files: Files that they come from, with all that these import.
        services: Services that it may list.
        methods: Methods that become tools.
        tool_bytes: Bytes of the specs of these tools, with their schemas.
        start_seconds: From the connection to the list of its methods.
        import_seconds: For making the tools of its methods, which is done by a thread; those not made by then are left
            out.
    """

    descriptor_bytes: int = 16 * MIB
    descriptor_parts: int = 4_000_000
    files: int = 5_000
    services: int = 5_000
    methods: int = 10_000
    tool_bytes: int = 64 * MIB
    start_seconds: float = 20.0
    import_seconds: float = 60.0


def one_line(text: str, limit: int) -> str:
    """Returns a foreign text as one line that can be logged: without control characters, and not too long."""
    line = _CONTROL.sub("", " ".join(text.split()))
    return line if len(line) <= limit else f"{line[:limit]}…"
