"""Sets and dicts of chosen hashes are refused before pydantic builds them."""

from collections import Counter, OrderedDict, defaultdict
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from grpc_tool_bridge import ValidationError, tool

MODULUS = 2**61 - 1
MANY = 1_000
INTS = [MODULUS * number for number in range(MANY)]
KEYS = {str(number): number for number in INTS}


class Holder(BaseModel):
    model_config = ConfigDict(strict=True)

    members: set[int] = set()
    keyed: dict[int, int] = {}


def bound(annotation: Any, value: Any) -> Any:
    def take(value: Any) -> None:
        """Takes a value."""

    take.__annotations__["value"] = annotation
    args, _ = tool(take).bind([value], {})
    return args[0]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], INTS),
        (frozenset[int] | None, INTS),
        (set[Decimal], [str(number) for number in INTS]),
        (dict[int, int], KEYS),
        (dict[int, Any], dict.fromkeys(INTS, 1)),
        (defaultdict[int, int], KEYS),
        (OrderedDict[Decimal, int], KEYS),
        (Counter[int], dict.fromkeys(INTS, 1)),
        (list[set[int]], [INTS]),
        (Holder, {"members": set(INTS)}),
        (Holder, {"keyed": dict.fromkeys(INTS, 1)}),
    ],
)
def test_too_many_of_one_hash_are_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValidationError, match="has more than 100 members or keys of one hash"):
        bound(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (set[int], list(range(1_000)), set(range(1_000))),
        (set[int], [1] * 1_000, {1}),
        (dict[int, int], {str(number): 1 for number in range(1_000)}, dict.fromkeys(range(1_000), 1)),
        (Holder, {"members": set(range(1_000))}, Holder(members=set(range(1_000)))),
        (list[int], INTS, INTS),
        (dict[str, int], KEYS, KEYS),
    ],
)
def test_others_are_read_as_they_were(annotation: Any, value: Any, read: Any) -> None:
    assert bound(annotation, value) == read


def test_what_is_wrong_with_a_large_set_is_told_at_its_place() -> None:
    with pytest.raises(ValidationError, match=r"argument 'value': \[700\] should be a valid integer"):
        bound(set[int], [*range(700), "x", *range(700, 2_000)])
