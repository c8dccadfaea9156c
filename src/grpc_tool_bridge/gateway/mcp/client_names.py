"""Names of tools as every MCP client takes them.

The protocol allows dots in a name, and 128 characters. Models' APIs allow no dots and 64 characters, and many clients
pass names on as they are: with one tool called ``time.convert_time``, no request to the model succeeds. So such a tool
has another name for clients, ``time_convert_time``. Its own name still means it, and no name ever means two tools.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable

from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS

MAX_CHARS = 64

_ALLOWED = re.compile(rf"[a-zA-Z0-9_-]{{1,{MAX_CHARS}}}")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")
# Of the digest that tells names apart which would be the same.
_DIGEST_CHARS = 12
_STEM_CHARS = MAX_CHARS - _DIGEST_CHARS - 1
# Names that mean something else where no tool has them.
_RESERVED = frozenset({SEARCH_TOOLS, CALL_TOOL})


def client_names(names: Collection[str]) -> dict[str, str]:
    """Returns the names for clients, by the tools' own; those that are the same are left out.

    A name that would be that of another tool ends with a digest of the tool's own name.
    """
    return _renamed([name for name in names if not _ALLOWED.fullmatch(name)], names)


def own_name(given: str, names: Collection[str]) -> str:
    """Returns the tool's own name that a client means; what means no tool is returned as it is."""
    if given in names or given in _RESERVED or not _ALLOWED.fullmatch(given):
        return given
    stem = given[: -_DIGEST_CHARS - 1]
    alike = [
        name
        for name in names
        if not _ALLOWED.fullmatch(name) and ((short := _short(name)) == given or short[:_STEM_CHARS] == stem)
    ]
    meant = [name for name, other in _renamed(alike, names).items() if other == given]
    return meant[0] if len(meant) == 1 else given


def _renamed(renamed: Iterable[str], names: Collection[str]) -> dict[str, str]:
    """Returns the other names of some tools; with one of them come all that would have the same."""
    shorts = {name: _short(name) for name in renamed}
    counts = Counter(shorts.values())
    return {
        name: short
        if counts[short] == 1 and len(short) <= MAX_CHARS and short not in names and short not in _RESERVED
        else f"{short[:_STEM_CHARS]}_{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]}"
        for name, short in shorts.items()
    }


def _short(name: str) -> str:
    return _NOT_ALLOWED.sub("_", name)
