"""Checks audit trails: whether lines were changed, moved, repeated, added or cut."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc_tool_bridge.auth.audit.chain import FIRST, Line, Link, Verifier, signature
from grpc_tool_bridge.auth.audit.keys import AuditKeys
from grpc_tool_bridge.auth.audit.reading import ReadLine, event_of, fields_of, read_file
from grpc_tool_bridge.auth.audit.tails import torn_digest

# More are counted, and not listed.
MAX_FINDINGS = 1_000

_SIGNED = frozenset({"checkpoint", "rotate", "end"})
_MAC_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found.

    Attributes:
        file: The file; empty: it is about a whole chain.
        line: The number of the line there; 0: about no line.
        text: What is wrong.
        is_broken: Whether somebody has changed something. If not, a crash or a setting explains it as well.
    """

    file: str
    line: int
    text: str
    is_broken: bool


@dataclass(slots=True)
class Part:
    """Lines of a chain that follow each other in one file.

    Attributes:
        file: The file.
        number: The number of its first line there.
        first, last: Its first and its last line.
    """

    file: str
    number: int
    first: Line
    last: Line


@dataclass(slots=True)
class CheckedChain:
    """One chain: what one life of one process has written.

    Attributes:
        id: Its id.
        hub: The name of the hub.
        key: The name of its key; empty: its first line is not there.
        parts: What there is of it.
        lines: How many lines.
        began, last_at: When its first and its last line were written.
        signed: The number of the last line that a checkpoint has signed; -1: none.
        has_ended: Whether it was ended in order.
        lost: Lines that it says were lost.
    """

    id: str
    hub: str = ""
    key: str = ""
    parts: list[Part] = field(default_factory=list)
    lines: int = 0
    began: str = ""
    last_at: str = ""
    signed: int = -1
    has_ended: bool = False
    lost: int = 0

    @property
    def last(self) -> Line:
        """Its last line."""
        return max((part.last for part in self.parts), key=lambda line: line.seq)


@dataclass(slots=True)
class Report:
    """What a check has found.

    Attributes:
        chains: The chains, in the order in which they were found.
        findings: What was found, at most ``MAX_FINDINGS``.
        left_out: How many more there are.
        is_broken: Whether any of them says that somebody has changed something.
    """

    chains: list[CheckedChain] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: int = 0
    is_broken: bool = False

    def add(self, file: str, line: int, text: str, *, is_broken: bool = True) -> None:
        """Adds a finding."""
        self.is_broken = self.is_broken or is_broken
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(file, line, text, is_broken))
        else:
            self.left_out += 1


class TrailCheck:
    """Checks files.

    Args:
        keys: The keys of the trail.
        mixed: As for ``read_file``; lines may be repeated then, and come in another order.
        partial: Whether what is before the first line of a chain is not missed.
    """

    def __init__(self, keys: AuditKeys, *, mixed: bool = False, partial: bool = False) -> None:
        self._keys = keys
        self._verifier = Verifier(keys)
        self._mixed = mixed
        self._partial = partial
        self._report = Report()
        self._chains: dict[str, CheckedChain] = {}
        # What chains say of those before them, and of files that were removed: with the file and the line that says so.
        self._after: list[tuple[str, int, dict[str, Any]]] = []
        self._removed: dict[str, Link] = {}
        # Lines that cannot be read.
        self._unread: list[tuple[str, ReadLine]] = []
        self._cut: set[str] = set()

    def check(self, files: Iterable[Path], expected: Sequence[Link] = ()) -> Report:
        """Checks files, in any order.

        Args:
            files: All files of the trails.
            expected: Places that were seen before, and have to be there.

        Raises:
            OSError: A file cannot be read.
        """
        for path in files:
            for read in read_file(path, mixed=self._mixed):
                self._take(str(path), read)
        for chain in self._chains.values():
            self._join(chain)
        for file, number, after in self._after:
            self._check_after(file, number, after)
        self._tell_unread()
        for link in expected:
            self._check_expected(link)
        self._report.chains = list(self._chains.values())
        return self._report

    # --------------------------------------------------------------------------------------------------- one line

    def _take(self, file: str, read: ReadLine) -> None:
        line = read.line
        if line is None:
            self._unread.append((file, read))
            return
        chain = self._chains.get(line.chain)
        if chain is None:
            chain = self._chains[line.chain] = CheckedChain(line.chain)
        chain.lines += 1
        part = chain.parts[-1] if chain.parts and chain.parts[-1].file == file else None
        if part is not None and line.seq == part.last.seq + 1:
            if not self._verifier.follows(line, part.last.mac):
                self._report.add(file, read.number, f"line {line.seq} of chain {line.chain} was changed")
            part.last = line
        else:
            if part is not None and line.seq <= part.last.seq:
                self._tell_backwards(file, read.number, line, part.last)
            chain.parts.append(Part(file, read.number, line, line))
        self._note(file, read.number, chain, line)
        if not read.is_whole:
            text = f"line {line.seq} of chain {line.chain} has no end: it was cut there, by a crash or by somebody"
            self._report.add(file, read.number, text, is_broken=False)

    def _tell_backwards(self, file: str, number: int, line: Line, before: Line) -> None:
        text = f"line {line.seq} of chain {line.chain} comes after line {before.seq}: it was moved"
        if line == before:
            text = f"line {line.seq} of chain {line.chain} is repeated"
        self._report.add(file, number, text, is_broken=not self._mixed)

    def _note(self, file: str, number: int, chain: CheckedChain, line: Line) -> None:
        """Notes what a line says of its chain."""
        _, event = event_of(line)
        if event in ("call", "decision"):
            return
        fields = fields_of(line)
        if event in _SIGNED:
            self._check_signature(file, number, chain, line, fields)
        if event == "begin":
            chain.hub, chain.key = str(fields.get("hub", "")), str(fields.get("key", ""))
            if chain.key != self._keys.name:
                text = (
                    f"chain {chain.id} has the key {chain.key!r:.20}, and is checked with the key {self._keys.name!r}"
                )
                self._report.add(file, number, text)
            if isinstance(fields.get("after"), dict):
                self._after.append((file, number, fields["after"]))
        elif event == "lost":
            lost = fields.get("lines", 0)
            chain.lost += lost if isinstance(lost, int) else 0
            text = f"{lost} lines were lost before line {line.seq} of chain {chain.id}, which could not be written"
            self._report.add(file, number, text, is_broken=False)
        elif event == "removed":
            link = _link_in(fields.get("last"))
            if link is not None and link.seq >= self._removed.get(link.chain, link).seq:
                self._removed[link.chain] = link

    def _check_signature(self, file: str, number: int, chain: CheckedChain, line: Line, fields: dict[str, Any]) -> None:
        last = str(fields.get("last", ""))
        wanted = signature(self._keys.checkpoints, chain.id, line.seq, last)
        if fields.get("lines") != line.seq or fields.get("signed") != wanted:
            self._report.add(file, number, f"checkpoint {line.seq} of chain {chain.id} is not signed by this key")
        else:
            chain.signed = max(chain.signed, line.seq)

    # ------------------------------------------------------------------------------------------------ whole chains

    def _join(self, chain: CheckedChain) -> None:
        """Checks that the parts of a chain follow each other, whichever files they are in."""
        chain.parts.sort(key=lambda part: part.first.seq)
        before: Line | None = None
        for part in chain.parts:
            wanted = 0 if before is None else before.seq + 1
            if part.first.seq < wanted:
                self._tell_repeated(chain, part, wanted)
                if before is not None and part.last.seq <= before.seq:
                    continue
            elif part.first.seq > wanted:
                self._tell_missing(chain, part, wanted)
            elif not self._verifier.follows(part.first, FIRST if before is None else before.mac):
                self._report.add(part.file, part.number, f"line {wanted} of chain {chain.id} was changed")
            before = part.last
        chain.began, _ = event_of(chain.parts[0].first)
        chain.last_at, event = event_of(chain.last)
        chain.has_ended = event == "end"
        if not chain.has_ended:
            signed = f"; up to line {chain.signed} a checkpoint signs it" if chain.signed >= 0 else ""
            text = f"chain {chain.id} has no end after line {chain.last.seq}{signed}"
            text += ": its hub runs, was killed, or lines after that were cut"
            self._report.add("", 0, text, is_broken=False)

    def _tell_repeated(self, chain: CheckedChain, part: Part, wanted: int) -> None:
        last = min(part.last.seq, wanted - 1)
        text = f"{_lines(part.first.seq, last)} of chain {chain.id} should not be here: it follows line {wanted - 1}"
        self._report.add(part.file, part.number, text, is_broken=not self._mixed)

    def _tell_missing(self, chain: CheckedChain, part: Part, wanted: int) -> None:
        missing = f"{_lines(wanted, part.first.seq - 1)} of chain {chain.id}"
        removed = self._removed.get(chain.id)
        is_last_removed = wanted == 0 and removed is not None and removed.seq == part.first.seq - 1
        if is_last_removed and removed is not None and self._verifier.follows(part.first, removed.mac):
            text = f"{missing} removed by the hub, as audit_keep says"
            self._report.add(part.file, part.number, text, is_broken=False)
            return
        if wanted == 0 and self._partial:
            text = f"line {part.first.seq} of chain {chain.id} is the first one given, and is not checked itself"
            self._report.add(part.file, part.number, text, is_broken=False)
            return
        self._report.add(part.file, part.number, f"{missing} missing before this line")

    def _check_after(self, file: str, number: int, after: dict[str, Any]) -> None:
        """Checks what a chain has found before it when it began."""
        if isinstance(after.get("digest"), str):
            self._cut.add(after["digest"])
        link = _link_in(after)
        if link is None:
            return
        chain = self._chains.get(link.chain)
        if chain is None:
            removed = self._removed.get(link.chain)
            if self._partial or (removed is not None and removed.seq == link.seq):
                return
            text = f"chain {link.chain}, which ended before this line with its line {link.seq}, is missing"
            self._report.add(file, number, text)
            return
        last = chain.last
        if last.seq < link.seq:
            text = (
                f"lines {last.seq + 1} to {link.seq} of chain {link.chain}, which were there at this line, are cut off"
            )
            self._report.add(file, number, text)
        elif last.seq > link.seq:
            text = f"chain {link.chain} goes on after line {link.seq}, which was its last one at this line"
            self._report.add(file, number, text)
        elif last.mac != link.mac:
            self._report.add(file, number, f"line {link.seq} of chain {link.chain} is not the one that was there")

    def _tell_unread(self) -> None:
        """Tells of the lines that cannot be read: whether a crash explains them."""
        for file, read in self._unread:
            if not read.data and read.is_whole:
                self._report.add(file, read.number, "an empty line is none of a trail")
            elif read.is_whole and torn_digest(read.data) in self._cut:
                text = "a crash has cut this line in the middle, as the chain after it has noted"
                self._report.add(file, read.number, text, is_broken=False)
            elif not read.is_whole:
                text = "the last line is cut in the middle: by a crash, or by somebody, which cannot be told apart"
                self._report.add(file, read.number, text, is_broken=False)
            else:
                self._report.add(file, read.number, "this is no line of a trail: it was changed, cut or added")

    def _check_expected(self, link: Link) -> None:
        chain = self._chains.get(link.chain)
        if chain is None:
            self._report.add("", 0, f"chain {link.chain} is missing, which was there before")
        elif chain.last.seq < link.seq:
            text = (
                f"chain {link.chain} ends with line {chain.last.seq}; line {link.seq} was there before, and is cut off"
            )
            self._report.add("", 0, text)
        elif chain.last.seq == link.seq and chain.last.mac != link.mac:
            self._report.add("", 0, f"line {link.seq} of chain {link.chain} is not the one that was there before")


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _link_in(fields: Any) -> Link | None:
    """Returns the place that fields of a line name; None if they name none."""
    if not isinstance(fields, dict):
        return None
    return read_link(f"{fields.get('chain')}:{fields.get('seq')}:{fields.get('mac')}")


def read_link(text: str) -> Link | None:
    """Reads a place: ``CHAIN:SEQ:MAC``; None if it is none."""
    chain, _, rest = text.partition(":")
    seq, _, mac = rest.partition(":")
    try:
        code = bytes.fromhex(mac)
    except ValueError:
        return None
    return Link(chain, int(seq), code) if seq.isdecimal() and len(mac) == _MAC_DIGITS else None
