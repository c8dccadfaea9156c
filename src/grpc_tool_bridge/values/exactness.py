"""Which containers JSON restores unchanged.

The search goes level by level: visiting all children of a level together runs near the speed of C, and yields the
depth and the exact types as well. The containers of a level are in groups of lists or of dicts. In a group of rows of
the same length, each column mostly has values of one type, and then no value is looked at by itself.
"""

from collections.abc import Iterable, Sequence
from gc import get_referents
from itertools import chain
from math import isfinite
from typing import Any

from grpc_tool_bridge.rpc.nodes import too_many_nodes
from grpc_tool_bridge.values.foreign import foreign
from grpc_tool_bridge.values.jsontext import MAX_ITEMS, too_deep, too_many

# With this many items in a level, shared containers are looked for.
_MANY = 100_000

# Items that may be visited in an event loop, at some 50 ns each.
_ITEMS_IN_LOOP = 50_000

# With fewer rows, visiting each column takes longer than looking at each value.
_MIN_ROWS = 32

# A value of so few items is visited item by item.
_FEW_ITEMS = 64

_LEAVES = frozenset({str, int, bool, type(None)})
_FOLLOWED = frozenset({float, list, dict})
_ONLY_STR = frozenset({str})

# Lists only, or dicts only; never empty.
_Group = Sequence[Any]


def is_json_exact(value: list[Any] | dict[str, Any], *, max_depth: int, max_nodes: int | None = None) -> bool:
    """Returns whether JSON restores a container unchanged: exact types, text keys, finite numbers.

    Args:
        value: A list or dict (exactly).
        max_depth: Levels of containers allowed.
        max_nodes: Items and keys allowed; None for any.

    Returns:
        Whether it does; False as soon as anything else is found.

    Raises:
        SerializationError: It is nested too deep, contains itself, or is too large once written out.
        MessageTooLargeError: It has more nodes.
        ForeignCodeError: It has so many that visiting them would block an event loop.
    """
    small = _is_small_exact(value, max_depth)
    if small is not None:
        return small
    level: list[_Group] = [[value]]
    shared = False
    depth = 0
    items = 1
    while level:
        depth += 1
        if depth > max_depth:
            raise too_deep()
        lengths = [list(map(len, group)) for group in level]
        counts = list(map(sum, lengths))
        if sum(counts) > _MANY and _has_repeated(level):
            # Without this a list that holds itself twice would double with every level.
            level, shared = _distinct(level), True
            lengths = [list(map(len, group)) for group in level]
            counts = list(map(sum, lengths))
        items += sum(count * (2 if _holds_dicts(group) else 1) for group, count in zip(level, counts, strict=True))
        if items > _ITEMS_IN_LOOP:
            foreign(value)
            if max_nodes is not None and items > max_nodes:
                raise too_many_nodes(f"a {type(value).__name__}", items, max_nodes, counted_all=False)
        below: list[_Group] = []
        for group, widths, count in zip(level, lengths, counts, strict=True):
            groups = _groups_below(group, widths, count)
            if groups is None:
                return False
            below.extend(groups)
        level = below
    if shared and _written_items(value, {}) > MAX_ITEMS:
        raise too_many(MAX_ITEMS)
    return True


def _is_small_exact(value: Any, max_depth: int) -> bool | None:
    """Looks at each item of a small value, which takes less time than going by levels; None if it is not small."""
    containers = [value]
    left = _FEW_ITEMS
    for container in containers:
        left -= len(container)
        if left < 0:
            return None
        items = container
        if type(container) is dict:
            if not set(map(type, container)) <= _ONLY_STR:
                return False
            items = container.values()
        for item in items:
            kind = type(item)
            if kind is list or kind is dict:
                containers.append(item)
            elif kind not in _LEAVES and (kind is not float or not isfinite(item)):
                return False
    # There are no more levels than containers.
    return True if len(containers) <= max_depth else None


def _holds_dicts(group: _Group) -> bool:
    return type(group[0]) is dict


def _groups_below(group: _Group, widths: list[int], count: int) -> list[_Group] | None:
    """Returns the containers in a group's containers; None if there is something that JSON does not restore."""
    children = _children(group, count)
    if children is None:
        return None
    below: list[_Group] = []
    for column in _columns(children, widths):
        containers = _containers(column)
        if containers is None:
            return None
        below.extend(containers)
    return below


def _children(group: _Group, count: int) -> list[Any] | None:
    """Returns the values in a group's containers, of which there are ``count``; None if a key is not a text."""
    # In C, in one call; the items of a list come from last to first. Python's collector visits the keys of a dict only
    # if one is not a str, so there are as many as values only if all keys are texts.
    children = get_referents(*group)
    if len(children) == count:
        return children
    if not _holds_dicts(group):
        return list(chain.from_iterable(group))
    if set(map(type, chain.from_iterable(group))) <= _ONLY_STR:
        return list(chain.from_iterable(map(dict.values, group)))
    return None


def _columns(children: list[Any], widths: list[int]) -> Iterable[list[Any]]:
    """Splits the values in containers of these lengths into columns, if they are rows of one length."""
    width = widths[0]
    if len(widths) < _MIN_ROWS or widths.count(width) < len(widths):
        return (children,)
    return (children[number::width] for number in range(width))


def _containers(column: list[Any]) -> Iterable[_Group] | None:
    """Returns the containers among some values, in groups; None if there is a value that JSON does not restore."""
    types = set(map(type, column))
    others = types - _LEAVES
    if not others:
        return ()
    if not others <= _FOLLOWED:
        return None
    groups: dict[type, list[Any]] = {
        kind: column if len(types) == 1 else [item for item in column if type(item) is kind] for kind in others
    }
    floats = groups.pop(float, None)
    if floats and not _all_finite(floats):
        return None
    return groups.values()


def _all_finite(floats: list[float]) -> bool:
    # The sum is not finite if one item is not; otherwise it can still overflow.
    return isfinite(sum(floats)) or all(map(isfinite, floats))


def _has_repeated(level: list[_Group]) -> bool:
    return len(set(map(id, chain.from_iterable(level)))) < sum(map(len, level))


def _distinct(level: list[_Group]) -> list[_Group]:
    """Returns the containers of a level, each once."""
    containers = {id(container): container for container in chain.from_iterable(level)}.values()
    lists = [container for container in containers if type(container) is list]
    dicts = [container for container in containers if type(container) is dict]
    return [group for group in (lists, dicts) if group]


def _written_items(container: Any, known: dict[int, int]) -> int:
    """Counts items as they are written out: a shared container each time that it appears."""
    if id(container) not in known:
        children = container.values() if type(container) is dict else container
        nested = (_written_items(child, known) for child in children if type(child) is list or type(child) is dict)
        known[id(container)] = len(container) + sum(nested)
    return known[id(container)]
