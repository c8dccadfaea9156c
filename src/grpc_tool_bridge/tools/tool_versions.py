"""Versions of a tool that are registered side by side: their names, such as ``add@1``, and which is the newest."""

import re
from functools import lru_cache
from typing import Any

from grpc_tool_bridge.errors import AlreadyExistsError
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.rpc.bounds import shown

MAX_VERSION_CHARS = 64
# Of a version that others stand beside: it is part of a name.
VERSION = re.compile(rf"[A-Za-z0-9_.+!-]{{1,{MAX_VERSION_CHARS}}}", re.ASCII)

# As PEP 440 writes versions: an epoch, numbers with dots, a pre-release, .post1, .dev1, and a local part that does not
# count. What semver and PEP 440 read differently, 1.0-r1, is semver's.
_PEP_440 = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<kind>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<number>\d*))?"
    r"(?P<post>(?:[-_.]?post|[_.]?(?:rev|r))[-_.]?(?P<after>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<before>\d*))?"
    r"(?:\+[0-9a-z._-]+)?",
    re.ASCII | re.IGNORECASE,
)
# As semver does: a pre-release of any words, and a build, which does not count.
_SEMVER = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)-(?P<words>[0-9a-z-]+(?:\.[0-9a-z-]+)*)(?:\+[0-9a-z.-]+)?", re.ASCII | re.IGNORECASE
)
# PEP 440's other spellings.
_KINDS = {"a": "alpha", "b": "beta", "c": "rc", "pre": "rc", "preview": "rc"}
_DEV, _BEFORE, _FINAL = range(3)
# After those of a number: a version without .post1 is older than one with it, and one without .dev1 is newer.
_NONE, _ANY = -1, float("inf")

# Numbers of more digits are compared as texts: Python refuses to read thousands of them.
_MAX_DIGITS = 18

VersionKey = tuple[bool, tuple[Any, ...]]


def versioned(name: str, version: str) -> str:
    """Returns the name of one version of a tool, such as ``add@1``."""
    return f"{name}{VERSION_SIGN}{version}"


def exact_id(tool_id: str, version: str) -> str:
    """Returns the id by which this very version is meant: that of a tool without a version is its own."""
    return versioned(tool_id, version) if version else tool_id


def split_version(name: str) -> tuple[str, str]:
    """Splits such a name into the tool's name and the version, which is empty for a plain name."""
    plain, _, version = name.partition(VERSION_SIGN)
    return plain, version


@lru_cache(maxsize=1024)
def version_key(version: str) -> VersionKey:
    """Returns what versions are compared by: the larger is the newer.

    Versions as semver or PEP 440 writes them compare as those say: ``1.9`` before ``1.10``, ``2.0rc1`` before ``2.0``,
    and ``1.0`` equals ``1.0.0``. Any other text is older than all of these. Of versions with equal keys, the one that
    was registered last is the newest.
    """
    if max(map(len, re.findall(r"\d+", version)), default=0) > _MAX_DIGITS:
        return False, ()
    if (found := _PEP_440.fullmatch(version)) is not None:
        post = int(found["after"] or 0) if found["post"] else _NONE
        dev = int(found["before"] or 0) if found["dev"] else _ANY
        words: tuple[Any, ...] = ()
        stage = _DEV if found["dev"] and not found["post"] else _FINAL
        if found["kind"]:
            kind = found["kind"].lower()
            stage, words = _BEFORE, ((1, 0, _KINDS.get(kind, kind)), (0, int(found["number"] or 0), ""))
        return True, (int(found["epoch"] or 0), _release(found["release"]), stage, words, post, dev)
    if (found := _SEMVER.fullmatch(version)) is not None:
        words = tuple(map(_identifier, found["words"].lower().split(".")))
        return True, (0, _release(found["release"]), _BEFORE, words, _NONE, _ANY)
    return False, ()


def _release(text: str) -> tuple[int, ...]:
    """Returns the numbers of a release, without zeros at the end."""
    numbers = [int(part) for part in text.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _identifier(text: str) -> tuple[int, int, str]:
    """Returns what one part of a pre-release is compared by: numbers come before texts, as semver says."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


def check_beside(spec: ToolSpec, other: ToolSpec, scope: str) -> None:
    """Checks that a tool may stand beside another one of the same name, as another version.

    Raises:
        AlreadyExistsError: It may not.
    """
    name = spec.name
    if spec.version == other.version:
        which = f" with the version {shown(spec.version)}" if spec.version else ""
        problem = f"{scope} has a tool named {name!r}{which} already; give one of them another name"
        hint = " or another version" if spec.version else ""
        raise AlreadyExistsError(f"{problem}{hint}", details={"tool": name})
    if not spec.version or not other.version:
        raise AlreadyExistsError(
            f"{scope} has a tool named {name!r} already, and only one of the two has a version; give both a version to "
            "have them side by side, or one of them another name",
            details={"tool": name},
        )
    if spec.tool_id != other.tool_id:
        raise AlreadyExistsError(
            f"{scope} has another version of {name!r} with the id {shown(other.tool_id)}, not {shown(spec.tool_id)}; "
            "give all versions of a tool one id",
            details={"tool": name},
        )
    for version in (spec.version, other.version):
        if not VERSION.fullmatch(version):
            raise AlreadyExistsError(
                f"{scope} has another version of {name!r} already, and {shown(version)} cannot be part of a name: for "
                "versions side by side, use 1 to 64 letters, digits, '.', '_', '-', '+' or '!'",
                details={"tool": name},
            )
