"""Which tools a framework or an agent is given: patterns of names, or a function that decides."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping

from grpc_tool_bridge.config.argument_checks import check_plain_callable, check_text, refuse_type
from grpc_tool_bridge.errors import NotFoundError, ValidationError
from grpc_tool_bridge.llm.tool_marks import checked_tags, has_tags, is_for_models, tags_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Before the tags of a pattern, which all must be there: "tag:db", "tag:db+read". No name has a colon.
TAG_PREFIX = "tag:"
TAG_SEPARATOR = "+"

# A pattern, several, or a function that is called with the spec of each tool.
ToolFilter = str | Iterable[str] | Callable[[ToolSpec], object]

MAX_PATTERN_CHARS = 256
# Of those that are neither a name nor a prefix, which may be as many as there are tools: so many stars cost a tool of a
# long name a tenth of a millisecond.
MAX_PATTERNS = 100
MAX_STARS = 100

_CALLED = 'a pattern such as "weather_*", a list of patterns, or a function that is called with a ToolSpec'
_WILDCARDS = re.compile(r"[*?\[]")
# A pattern that ends so is a prefix.
_SEPARATORS = (".", "_", "-", "/", ":")


def filter_of(tool_filter: ToolFilter) -> Callable[[ToolSpec], bool]:
    """Returns a function that says whether a tool passes a filter.

    A pattern is a name (``get_weather``), a prefix that ends with a separator (``weather_``, ``files.``), or has
    wildcards: ``*`` for any characters, ``?`` for one, ``[ab]`` for one of these. Case counts. ``tag:db`` stands for
    the tools with a tag, ``tag:db+read`` for those with both.

    Raises:
        ValidationError: The filter is none of these, is empty, or has too many or too long patterns.
    """
    patterns = settled(tool_filter)
    if callable(patterns):
        decides = patterns
        return lambda spec: bool(decides(spec))
    tagged = [_tags_in(pattern) for pattern in patterns if pattern.startswith(TAG_PREFIX)]
    patterns = tuple(pattern for pattern in patterns if not pattern.startswith(TAG_PREFIX))
    beginnings = {pattern: _beginning(pattern) for pattern in patterns}
    prefixes = tuple(prefix for prefix in beginnings.values() if prefix is not None)
    rest = [pattern for pattern, prefix in beginnings.items() if prefix is None]
    names = frozenset(pattern for pattern in rest if not _WILDCARDS.search(pattern))
    wide = [
        f"{pattern}*" if pattern.endswith(_SEPARATORS) else pattern for pattern in rest if _WILDCARDS.search(pattern)
    ]
    if len(wide) > MAX_PATTERNS or sum(pattern.count("*") for pattern in wide) > MAX_STARS:
        raise ValidationError(
            f"tool_filter has {len(wide):,} patterns with wildcards inside; {MAX_PATTERNS} are allowed, with "
            f"{MAX_STARS} stars in all of them"
        )
    # Without any, it matches nothing.
    matches = re.compile("|".join(map(fnmatch.translate, wide)) or r"(?!)").match

    def by_name(spec: ToolSpec) -> bool:
        return spec.name in names or spec.name.startswith(prefixes) or matches(spec.name) is not None

    if not tagged:
        return by_name
    return lambda spec: by_name(spec) or any(map(frozenset(tags_of(spec)).issuperset, tagged))


def for_models(tool_filter: ToolFilter | None) -> Callable[[ToolSpec], bool]:
    """Returns a function that says whether a model is given a tool that passes a filter; None: any tool.

    Hidden and deprecated tools and older versions are only given if the filter has their whole name.

    Raises:
        ValidationError: As for ``filter_of``.
    """
    if tool_filter is None:
        return is_for_models
    patterns = settled(tool_filter)
    passes, names = filter_of(patterns), frozenset() if callable(patterns) else frozenset(patterns)
    return lambda spec: passes(spec) and (is_for_models(spec) or spec.name in names)


def with_tags(tool_filter: ToolFilter | None, tags: Iterable[str]) -> ToolFilter | None:
    """Returns the filter that tools pass which pass a filter, if there is one, and have all of some tags.

    Raises:
        ValidationError: A tag is not valid, or as for ``filter_of``.
    """
    wanted = checked_tags(tags)
    if not wanted:
        return tool_filter
    pattern = f"{TAG_PREFIX}{TAG_SEPARATOR.join(wanted)}"
    if tool_filter is None and len(pattern) <= MAX_PATTERN_CHARS:
        return pattern
    passes = (lambda _: True) if tool_filter is None else filter_of(tool_filter)
    return lambda spec: passes(spec) and has_tags(spec, wanted)


def settled(tool_filter: ToolFilter) -> tuple[str, ...] | Callable[[ToolSpec], object]:
    """Returns a function as it is, and anything else as its patterns, each once; raises as ``filter_of``."""
    if callable(tool_filter) and not isinstance(tool_filter, type):
        check_plain_callable("tool_filter", tool_filter, _CALLED)
        return tool_filter
    if isinstance(tool_filter, str):
        patterns = [tool_filter]
    elif isinstance(tool_filter, Iterable) and not isinstance(tool_filter, bytes | bytearray | Mapping | type):
        patterns = list(dict.fromkeys(tool_filter))
    else:
        refuse_type("tool_filter", tool_filter, _CALLED)
    if not patterns:
        raise ValidationError("tool_filter has no pattern; leave it out for every tool")
    for pattern in patterns:
        check_text("a pattern of tool_filter", pattern, 'a text, such as "weather_*"')
        if len(pattern) > MAX_PATTERN_CHARS:
            raise ValidationError(
                f"a pattern of tool_filter has {len(pattern):,} characters; {MAX_PATTERN_CHARS} are allowed"
            )
    return tuple(patterns)


def pattern_for(name: str) -> str:
    """Returns the pattern that only this name matches."""
    pattern = _WILDCARDS.sub(r"[\g<0>]", name)
    return f"{pattern[:-1]}[{pattern[-1]}]" if pattern.endswith(_SEPARATORS) else pattern


def nothing_passes(tool_filter: ToolFilter) -> NotFoundError:
    """Returns the error for a filter that no tool of the session passes."""
    patterns = settled(tool_filter)
    shown = "a function" if callable(patterns) else ", ".join(map(repr, patterns[:5]))
    return NotFoundError(
        f"the session has no tool that passes tool_filter, {shown}; list(bridge.tools) shows the names, and a pattern "
        'needs a * where anything may stand, as in "weather_*"; hidden and deprecated ones need their whole name',
        error_type="ToolNotFound",
    )


def _tags_in(pattern: str) -> frozenset[str]:
    """Returns the tags of a pattern; raises ValidationError if there are none, or one is not valid."""
    return frozenset(checked_tags(pattern.removeprefix(TAG_PREFIX).split(TAG_SEPARATOR)))


def _beginning(pattern: str) -> str | None:
    """Returns what the names begin with that a pattern matches; None if it says more than that."""
    beginning = pattern.removesuffix("*")
    if _WILDCARDS.search(beginning) or not (pattern.endswith(_SEPARATORS) or beginning != pattern):
        return None
    return beginning
