"""Lines that each have a code over themselves and the line before.

A line is a JSON object: ``chain`` and ``seq`` come first, ``mac`` last. The code is a keyed BLAKE2b (RFC 7693) over the
code of the line before and the bytes of the line up to its own code, so that nothing has to be written in a canonical
form to be checked.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from typing import NamedTuple

from grpc_tool_bridge.auth.audit.keys import MAC_BYTES, AuditKeys

# What the first line of a chain follows.
FIRST = bytes(MAC_BYTES)

SIGNATURE_BYTES = 32

_NS = 1_000_000_000
_LINE = re.compile(
    rb'(?P<body>\{"chain":"(?P<chain>[0-9a-f]{16})","seq":(?P<seq>0|[1-9][0-9]{0,17}),.*),"mac":"(?P<mac>[0-9a-f]{32})"\}'
)
_MAC_HEAD, _MAC_TAIL = b',"mac":"', b'"}\n'


class Clock:
    """Writes times as RFC 3339 does, in UTC, to the nanosecond."""

    def __init__(self) -> None:
        self._second = ("", -1)

    def now(self) -> str:
        """Returns the time."""
        second, rest = divmod(time.time_ns(), _NS)
        text, known = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (text, second)
        return f"{text}.{rest:09d}Z"


class Link(NamedTuple):
    """The place of a line: what the next one follows.

    Attributes:
        chain: The id of its chain.
        seq: Its number there, from 0.
        mac: Its code.
    """

    chain: str
    seq: int
    mac: bytes


class Line(NamedTuple):
    """A line that was read.

    Attributes:
        chain, seq, mac: As in ``Link``.
        body: The line up to its code.
    """

    chain: str
    seq: int
    mac: bytes
    body: bytes

    @property
    def link(self) -> Link:
        """Its place."""
        return Link(self.chain, self.seq, self.mac)


class Chain:
    """Makes the lines of one chain; used by one thread.

    Args:
        keys: The keys.

    Attributes:
        id: Random, for one life of one process.
        seq: The number of the next line.
        last: The code of the last line.
    """

    def __init__(self, keys: AuditKeys) -> None:
        self.id = secrets.token_hex(8)
        self.seq = 0
        self.last = FIRST
        self._keys = keys
        self._clock = Clock()
        self._signing = keys.checkpoints
        self._empty = hashlib.blake2b(key=keys.lines, digest_size=MAC_BYTES)

    def another(self) -> "Chain":
        """Returns another chain with the same keys."""
        return Chain(self._keys)

    def lines(self, bodies: Iterable[str]) -> list[bytes]:
        """Makes lines.

        Args:
            bodies: Of each, the fields that follow ``seq``, as ASCII, without braces.
        """
        made: list[bytes] = []
        copy, head, seq, last = self._empty.copy, f'{{"chain":"{self.id}","seq":', self.seq, self.last
        for body in bodies:
            data = f"{head}{seq},{body}".encode("ascii")
            mac = copy()
            mac.update(last + data)
            last = mac.digest()
            made.append(b"".join((data, _MAC_HEAD, last.hex().encode(), _MAC_TAIL)))
            seq += 1
        self.seq, self.last = seq, last
        return made

    def line(self, event: str, fields: str = "") -> bytes:
        """Makes a line of the trail itself, such as its beginning; ``fields`` as for ``lines``."""
        [made] = self.lines((f'"time":"{self._clock.now()}","event":"{event}"{"," if fields else ""}{fields}',))
        return made

    def checkpoint(self, event: str = "checkpoint", fields: str = "") -> bytes:
        """Makes a line that signs how many lines are before it, and the code of the last of them."""
        last = self.last.hex()
        signed = signature(self._signing, self.id, self.seq, last)
        more = f",{fields}" if fields else ""
        return self.line(event, f'"lines":{self.seq},"last":"{last}","signed":"{signed}"{more}')


def signature(key: bytes, chain: str, lines: int, last: str) -> str:
    """Returns the signature of a checkpoint.

    Args:
        key: The key of checkpoints.
        chain: The id of the chain.
        lines: How many lines are before it.
        last: The code of the last of them.
    """
    return hashlib.blake2b(f"{chain}:{lines}:{last}".encode(), key=key, digest_size=SIGNATURE_BYTES).hexdigest()


def read_line(data: bytes) -> Line | None:
    """Reads a line without its newline; returns None if it is none of a trail."""
    found = _LINE.fullmatch(data)
    if found is None:
        return None
    return Line(found["chain"].decode(), int(found["seq"]), bytes.fromhex(found["mac"].decode()), found["body"])


class Verifier:
    """Computes the codes of lines.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: AuditKeys) -> None:
        self._empty = hashlib.blake2b(key=keys.lines, digest_size=MAC_BYTES)

    def follows(self, line: Line, before: bytes) -> bool:
        """Returns whether a line is as it was written, after the line with the code ``before``."""
        mac = self._empty.copy()
        mac.update(before + line.body)
        return mac.digest() == line.mac
