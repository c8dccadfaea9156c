"""Two requests are compared place by place, and a difference says which argument it is in."""

from typing import Any

import pytest

from grpc_tool_bridge.testing.recording.differences import MAX_LISTED, differences, key_of, leaves_of, listed

TOOLS = {"t": {"tool_id": "t", "arguments": [{"name": "a"}, {"name": "b"}]}}


def leaves(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return leaves_of({"tool_id": "t", "args": list(args), "kwargs": kwargs}, {}, TOOLS)


def found(recorded: dict[str, Any], called: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in differences(recorded, called)]


def test_equal_requests_do_not_differ_whether_arguments_have_names_or_not() -> None:
    assert found(leaves(1, [2]), leaves(b=[2], a=1)) == []
    assert key_of(leaves(1, 2)) == key_of(leaves(1, b=2)) != key_of(leaves(1, 3))


@pytest.mark.parametrize(
    ("recorded", "called", "difference"),
    [
        ((1, 2), (1, 3), "b: recorded 2, called with 3"),
        ((1,), (1.0,), "a: recorded 1, called with 1.0"),
        ((1,), (True,), "a: recorded 1, called with true"),
        (({"x": [{"y": 1}]},), ({"x": [{"y": 2}]},), "a.x[0].y: recorded 1, called with 2"),
        (({"x": 1, "z": 2},), ({"x": 1},), "a.z: recorded 2, called without it"),
        (({"x": 1},), ({"x": 1, "z": 2},), "a.z: not recorded, called with 2"),
        ((1, 2), (1,), "b: recorded 2, called without it"),
        ((1,), ({"x": 1},), "a: recorded 1, called with a value that has parts"),
        (([1, 2],), (5,), "a: recorded a value that has parts, called with 5"),
        (([],), ({},), "a: recorded [], called with {}"),
        (
            ({"$type": "Decimal", "value": "1"},),
            ({"$type": "Decimal", "value": "2"},),
            'a: recorded Decimal "1", called with Decimal "2"',
        ),
        (("x" * 300,), ("y",), f'a: recorded "{"x" * 119}…, called with "y"'),
    ],
)
def test_a_difference_names_its_place_and_both_values(recorded: Any, called: Any, difference: str) -> None:
    assert found(leaves(*recorded), leaves(*called)) == [difference]


@pytest.mark.parametrize(
    ("recorded", "called", "same"),
    [
        ("[redacted]", "anything", True),
        ("[redacted]", 5, True),
        ("[redacted]", {"any": ["thing"]}, True),
        ("key [redacted] ok", "key abc ok", True),
        ("key [redacted] ok", "key abc no", False),
        ("key [redacted] and [redacted].", "key 1 and 2.", True),
        ("key [redacted] and [redacted].", "key 1 or 2.", False),
        ("ab[redacted]bc", "abc", False),
        ("key [redacted]", 5, False),
    ],
)
def test_what_was_redacted_is_equal_to_anything_there(recorded: Any, called: Any, same: bool) -> None:
    assert (found(leaves(recorded), leaves(called)) == []) is same
    assert key_of(leaves(recorded)) is None


def test_items_of_a_batch_have_the_names_of_their_tools_parameters() -> None:
    recorded = {"items": [{"tool_id": "t", "args": [1]}, {"tool_id": "t", "kwargs": {"b": 2}}]}
    called = {"items": [{"tool_id": "t", "kwargs": {"a": 1}}, {"tool_id": "t", "args": [None, 3]}]}

    assert found(leaves_of(recorded, {}, TOOLS), leaves_of(called, {}, TOOLS)) == [
        "items[1].b: recorded 2, called with 3",
        "items[1].a: not recorded, called with null",
    ]


def test_large_values_are_compared_by_their_digest() -> None:
    def of(name: str) -> dict[str, Any]:
        return leaves_of({"tool_id": "t", "args": [None]}, {"args[0]": {"file": name, "bytes": 20_000}}, TOOLS)

    assert found(of("a"), of("a")) == []
    assert found(of("a"), of("b")) == ["a: recorded a value of 20,000 bytes, called with a value of 20,000 bytes"]


def test_what_does_not_decide_the_answer_is_not_compared() -> None:
    first = {"tool_id": "t", "context": {"trace": "1"}, "idempotency_key": "k"}

    assert found(leaves_of(first, {}, TOOLS), leaves_of({"tool_id": "t"}, {}, TOOLS)) == []


def test_many_differences_are_counted() -> None:
    text = listed(differences(leaves(list(range(50))), leaves(list(range(1, 51)))))

    assert len(text.splitlines()) == MAX_LISTED + 1
    assert text.splitlines()[-1] == "  and 40 more"
