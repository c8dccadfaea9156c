"""On whose behalf a request is made, and how it came, as a text in the metadata of a call on a link.

A hub writes it for its workers and for other hubs. Nobody else may: metadata whose names begin with RESERVED_PREFIX is
the bridge's own, and what a client sends under such a name is dropped.
"""

import functools
import json
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from grpc_tool_bridge.errors import ProtocolError, ValidationError
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext

RESERVED_PREFIX = "tool-bridge-"

# In the metadata of a call on a link: a JSON object with "name" and, if there are any, "groups", "method", "claims" and
# "via".
PRINCIPAL_KEY = "tool-bridge-principal"
# In the hello of a worker, or of a hub that dials another: it reads that metadata.
PRINCIPAL_FEATURE = "principal"

# The ``Principal.method`` of another hub of the cluster, which says on whose behalf it makes a request.
HUB_METHOD = "hub"

# Of the text: a link takes 8,192 characters of metadata for a call.
MAX_CALLER_CHARS = 7_000

# Of a delegation; if there are more, those in the middle are left out.
MAX_VIA = 16
MAX_VIA_CHARS = 100
_LEFT_OUT = "…"

# Texts that are kept. Most callers make more than one call.
_MAX_KEPT = 1_000

Via = tuple[str, ...]


def extended(via: Via, kind: str, name: str) -> Via:
    """Returns the delegation of the calls that an agent or a tool makes.

    Args:
        via: The delegation of its own call.
        kind: "agent" or "tool".
        name: Its name, of which the first 100 characters are kept.
    """
    longer = (*via, f"{kind}:{name[:MAX_VIA_CHARS]}")
    if len(longer) <= MAX_VIA:
        return longer
    # The last ones tell who acts, the first ones who began.
    half = MAX_VIA // 2
    return (*longer[: half - 1], _LEFT_OUT, *longer[-half:])


@functools.lru_cache(_MAX_KEPT)
def caller_text(principal: Principal, via: Via = (), claims: frozenset[str] | None = frozenset()) -> str:
    """Returns the text for a principal and a delegation; it is kept, so that a further call costs no more than a look.

    Args:
        principal: On whose behalf the call is made.
        via: How it came.
        claims: Names of the claims to write; None: all. One that would make the text too long is left out.

    Raises:
        ValidationError: Its name and its groups are too long to be sent.
    """
    written = _fields(principal, via)
    size = len(json.dumps(written, separators=(",", ":")))
    if size > MAX_CALLER_CHARS:
        raise ValidationError(
            f"the name, the groups and the delegation of the caller take {size:,} characters, and a worker or another "
            f"hub is sent {MAX_CALLER_CHARS:,} at most; give the caller fewer groups"
        )
    chosen: dict[str, Any] = {}
    for name, value in _written_claims(principal, claims).items():
        added = {**written, "claims": {**chosen, name: value}}
        if len(json.dumps(added, separators=(",", ":"))) <= MAX_CALLER_CHARS:
            chosen[name] = value
    if chosen:
        written["claims"] = chosen
    return json.dumps(written, separators=(",", ":"))


def caller_of(context: RequestContext) -> Principal | None:
    """Returns on whose behalf a request is made; None: on nobody's, as when another hub makes it for itself."""
    principal = context.principal
    return None if principal is None or principal.method == HUB_METHOD else principal


def told_of(context: RequestContext) -> str:
    """Returns what another hub is told of the caller of a request; empty if there is none.

    Raises:
        ValidationError: As of ``caller_text``.
    """
    principal = caller_of(context)
    return "" if principal is None else caller_text(principal, context.via, None)


def whole_caller_text(principal: Principal, via: Via) -> str:
    """Returns the text with all claims and of any length, for a process of this one."""
    return json.dumps({**_fields(principal, via), "claims": _written_claims(principal, None)}, separators=(",", ":"))


def _fields(principal: Principal, via: Via) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": principal.name}
    if principal.groups:
        fields["groups"] = sorted(principal.groups)
    if principal.method:
        fields["method"] = principal.method
    if via:
        fields["via"] = list(via)
    return fields


def _written_claims(principal: Principal, names: frozenset[str] | None) -> dict[str, Any]:
    """Returns claims as JSON has them; what is no JSON is a text."""
    chosen = {name: value for name, value in principal.claims.items() if names is None or name in names}
    written: dict[str, Any] = json.loads(json.dumps(chosen, default=str))
    return written


@functools.lru_cache(_MAX_KEPT)
def read_caller(text: str) -> tuple[Principal, Via]:
    """Reads what ``caller_text`` has written.

    Raises:
        ProtocolError: It is something else.
    """
    try:
        found = json.loads(text)
        name, groups, method = found["name"], found.get("groups", []), found.get("method", "")
        claims, via = found.get("claims", {}), found.get("via", [])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _unreadable() from None
    are_texts = all(isinstance(value, str) for value in (name, method))
    if not are_texts or not _are_texts(groups) or not _are_texts(via) or not isinstance(claims, dict):
        raise _unreadable()
    return Principal(name, frozenset(groups), MappingProxyType(claims), method), tuple(via)


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _unreadable() -> ProtocolError:
    return ProtocolError(f"the metadata {PRINCIPAL_KEY} of a call is not a JSON object with the name of its caller")


def without_reserved(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Returns metadata of a client without what it sends under names of the bridge."""
    if not any(name.startswith(RESERVED_PREFIX) for name in metadata):
        return metadata
    return {name: value for name, value in metadata.items() if not name.startswith(RESERVED_PREFIX)}


def drop_reserved(metadata: MutableMapping[str, Any]) -> bool:
    """Removes what ``without_reserved`` leaves out, in place; returns whether there was anything."""
    reserved = [name for name in metadata if name.startswith(RESERVED_PREFIX)]
    for name in reserved:
        del metadata[name]
    return bool(reserved)
