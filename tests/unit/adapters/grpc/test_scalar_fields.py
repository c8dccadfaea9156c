from typing import Any

import numpy as np
import pytest

from grpc_tool_bridge.adapters.grpc.problems import WrongError
from grpc_tool_bridge.adapters.grpc.scalar_fields import into_scalars, items_of, put_scalar, quick_maker
from support.protos_corpus import class_of, data_of, message


@pytest.mark.parametrize(
    ("name", "given", "is_made"),
    [
        ("every3.Scalars", {}, True),
        ("every3.Scalars", {"an_int32": 5, "a_double": 1, "sky": "SKY_CLEAR", "a_bytes": b"a"}, True),
        ("every3.Scalars", {"a_float": 1.5}, True),
        ("every3.Scalars", {"a_float": float("nan")}, True),
        ("every3.Scalars", {"a_float": 1e39}, False),
        ("every3.Scalars", {"an_int32": True}, False),
        ("every3.Scalars", {"an_int32": 2**31}, False),
        ("every3.Scalars", {"an_int32": None}, False),
        ("every3.Scalars", {"a_double": 10**400}, False),
        ("every3.Scalars", {"sky": "SKY_CLER"}, False),
        ("every3.Scalars", {"sky": 1}, False),
        ("every3.Scalars", {"a_string": "\ud800"}, False),
        ("every3.Scalars", {"unknown": 1}, False),
        ("every3.Names", {"self": "a"}, True),
        ("every3.Names", {"snakeCase": "a"}, False),
        ("every3.Choices", {"text": "a"}, False),
        ("every3.Choices", {"beside": "a"}, True),
        ("every3.Lists", {"strings": ["a"]}, False),
        ("every2.Fields", {"name": "a"}, False),
    ],
)
def test_only_what_protobuf_takes_exactly_is_made_at_once(name: str, given: dict[str, Any], is_made: bool) -> None:
    made = quick_maker(message(name))(given)
    assert (made is not None) == is_made
    if made is not None:
        assert data_of(made) == data_of(class_of(name)(**given))


def test_a_scalar_is_set_or_refused() -> None:
    made = class_of("every3.Scalars")()
    put_scalar(message("every3.Scalars").fields_by_name["an_int32"])(made, "5", 0)
    put_scalar(message("every3.Scalars").fields_by_name["a_float"])(made, 1, 0)
    assert (made.an_int32, made.a_float) == (5, 1.0)
    for value in (2**31, True, "x"):
        with pytest.raises(WrongError):
            put_scalar(message("every3.Scalars").fields_by_name["an_int32"])(made, value, 0)


def test_a_list_is_filled_or_each_wrong_item_is_told() -> None:
    made = class_of("every3.Lists")()
    fill = into_scalars(message("every3.Lists").fields_by_name["int32s"])
    fill(made.int32s, np.array([1, 2]), 0)
    fill(made.int32s, ("3", 4.0), 0)
    assert list(made.int32s) == [1, 2, 3, 4]
    with pytest.raises(WrongError) as caught:
        fill(class_of("every3.Lists")().int32s, [1, 2**31, 3, None], 0)
    assert [path for path, _ in caught.value.problems] == ["[1]", "[3]"]


def test_what_is_no_list_is_refused() -> None:
    assert items_of((1, 2)) == (1, 2)
    for value in ("ab", {"a": 1}, None, 5, {1, 2}):
        with pytest.raises(WrongError):
            items_of(value)
