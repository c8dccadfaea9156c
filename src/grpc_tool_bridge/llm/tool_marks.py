"""Marks of a tool: whether it is hidden or deprecated or needs approval, its tags, and whether it is an older version.

They are in the metadata of its spec, so that every listing can filter by them, in every language.
"""

import re
from collections.abc import Iterable
from typing import Any

from grpc_tool_bridge.config.argument_checks import list_of
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Keys of the metadata of a spec: "true"; a text that says what to use instead; tags with commas between them, sorted.
HIDDEN_KEY = "hidden"
DEPRECATED_KEY = "deprecated"
APPROVAL_KEY = "approval"
TAGS_KEY = "tags"

# The only approval that can be asked for, as an option and in the metadata of a spec.
APPROVAL_REQUIRED = "required"
# What texts call the gRPC service that has the tool, and the full name of its method there.
GRPC_SERVICE_KEY = "grpc.service"
GRPC_METHOD_KEY = "grpc.method"

# Between a tool's name and its version, as in ``add@1``: no name of a tool has this character.
VERSION_SIGN = "@"

MAX_TAG_CHARS = 64
MAX_TAGS = 100
_TAG = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_TAG_CHARS}}}", re.ASCII)
_A_LIST = 'a list of texts, such as ["db", "read"]'


def is_hidden(spec: ToolSpec) -> bool:
    """Returns whether a tool is left out of all listings."""
    return spec.metadata.get(HIDDEN_KEY) == "true"


def deprecated_of(spec: ToolSpec) -> str:
    """Returns what a deprecated tool says to use instead; empty if it is not deprecated."""
    return spec.metadata.get(DEPRECATED_KEY, "")


def needs_approval(spec: ToolSpec) -> bool:
    """Returns whether each call of a tool waits until somebody approves it.

    Whatever the mark says: one that a newer version has written must not let calls pass.
    """
    return bool(spec.metadata.get(APPROVAL_KEY))


def is_of_grpc(spec: ToolSpec) -> bool:
    """Returns whether a tool is a method of a gRPC service, so that its values are those of messages."""
    return GRPC_METHOD_KEY in spec.metadata


def tags_of(spec: ToolSpec) -> tuple[str, ...]:
    """Returns the tags of a tool, sorted."""
    given = spec.metadata.get(TAGS_KEY, "")
    return tuple(sorted({tag.strip() for tag in given.split(",")} - {""})) if given else ()


def is_older_version(spec: ToolSpec) -> bool:
    """Returns whether a listed spec is that of an older version of a tool, such as ``add@1``."""
    return VERSION_SIGN in spec.name


def is_for_models(spec: ToolSpec) -> bool:
    """Returns whether a model is given a tool that nobody has named: not if hidden, deprecated or an older version."""
    return not (is_older_version(spec) or is_hidden(spec) or deprecated_of(spec))


def described(spec: ToolSpec) -> str:
    """Returns the description of a tool for listings: one that is deprecated or needs approval says so first."""
    replacement = deprecated_of(spec)
    notes = [f"Deprecated: {replacement}"] if replacement else []
    if needs_approval(spec):
        notes.append("Needs approval: each call waits until somebody approves it.")
    return "\n\n".join((*notes, spec.description)).rstrip() if notes else spec.description


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Returns tags sorted, each once.

    Raises:
        ArgumentTypeError: It is no list of texts.
        ValidationError: A text is no tag, or there are too many.
    """
    found = list_of("tags", tags, _A_LIST)
    for tag in found:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise ValidationError(
                f"a tag is 1 to {MAX_TAG_CHARS} letters, digits, '_', '-', '.' or ':'; this one is {tag!r:.100}"
            )
    if len(found) > MAX_TAGS:
        raise ValidationError(f"tags has {len(found):,} tags; {MAX_TAGS} are allowed")
    return tuple(sorted(set(found)))


def has_tags(spec: ToolSpec, tags: Iterable[str]) -> bool:
    """Returns whether a tool has all of some tags."""
    return set(tags) <= set(tags_of(spec))
