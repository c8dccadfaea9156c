"""How a file of a trail ends: its last line, and what was left of one that a crash has cut."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from grpc_tool_bridge.auth.audit.chain import Link, read_line

# A line is shorter.
_READ_BYTES = 512 * 1024
_DIGEST_BYTES = 16


class Tail(NamedTuple):
    """The end of a file.

    Attributes:
        link: The place of its last line; None: it ends with none.
        torn: Bytes after the last newline.
        digest: Of these bytes, as hexadecimal digits; empty: there are none.
    """

    link: Link | None
    torn: int
    digest: str

    def fields(self) -> str:
        """Returns it as JSON."""
        cut = f'"torn":{self.torn},"digest":"{self.digest}"' if self.torn else ""
        if self.link is None:
            return f"{{{cut}}}"
        chain, seq, mac = self.link
        return f'{{"chain":"{chain}","seq":{seq},"mac":"{mac.hex()}"{"," if cut else ""}{cut}}}'


def torn_digest(data: bytes) -> str:
    """Returns the digest of what is left of a line."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def read_tail(path: Path) -> Tail | None:
    """Reads the end of a file; returns None if it is empty or not there.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ_BYTES))
            data = file.read(_READ_BYTES)
    except FileNotFoundError:
        return None
    if not data:
        return None
    whole, newline, rest = data.rpartition(b"\n")
    last = read_line(whole.rpartition(b"\n")[2]) if newline else None
    return Tail(None if last is None else last.link, len(rest), torn_digest(rest) if rest else "")
