"""The peers of this repository: Python's, and that of each folder ``sdk/*`` with a ``conformance/peer.json``."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """How a peer is started.

    Attributes:
        language: Its name in the table of peers.
        command: Its command line.
        directory: Where it is started.
        needs: Programs without which it cannot be started.
    """

    language: str
    command: str
    directory: Path
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The programs that are not installed here."""
        return [name for name in self.needs if shutil.which(name) is None]


def known_peers(root: Path = ROOT) -> Iterator[KnownPeer]:
    """Yields the peers, Python's first.

    Raises:
        KeyError, ValueError: A ``peer.json`` is not valid; it has ``language``, ``command`` and ``needs``.
    """
    yield KnownPeer("Python", f"{sys.executable} -m conformance.peers.python_peer", root)
    for path in sorted(root.glob("sdk/*/conformance/peer.json")):
        given = json.loads(path.read_text(encoding="utf-8"))
        # The command is run in the folder of the language.
        yield KnownPeer(given["language"], given["command"], path.parents[1], tuple(given["needs"]))
