"""Random numbers that depend on a seed and on which call it is, and on nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Protocol

# A session's name, if it has one.
NAME_KEY = "name"

# Ids that a client or the hub has generated: a UUID, with or without hyphens.
_GENERATED = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


class NamedSession(Protocol):
    """A session, as draws see it.

    Attributes:
        id: Its id.
        metadata: As given when it was created.
    """

    id: str
    metadata: Mapping[str, str]


def session_name(session: NamedSession) -> str:
    """Returns what identifies a session in every run of a program.

    That is ``name`` in its metadata, else its id. A generated id differs in each run, so the name is then empty, and
    all such sessions have the same faults.
    """
    name = session.metadata.get(NAME_KEY)
    if name is not None:
        return name
    return "" if _GENERATED.fullmatch(session.id) else session.id


def uniform(seed: int, rule: str, tool: str, session: str, call: int, what: str) -> float:
    """Returns a number from 0 up to, but not including, 1.

    It is read from the first 53 bits of the SHA-256 of the arguments, written as a JSON array in ASCII without spaces,
    so any language can compute it.

    Args:
        seed: The seed.
        rule: The rule's name.
        tool: The tool's name.
        session: From ``session_name``.
        call: Which call of this tool in this session it is, from 1.
        what: What the number decides: "fault", "latency", or "chunk-0" for the delay of the first chunk.
    """
    text = json.dumps([seed, rule, tool, session, call, what], separators=(",", ":"))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
