"""What is kept: for how long, and within which bounds."""

from typing import Any

import pytest

from grpc_tool_bridge.core import expiring_lru as module
from grpc_tool_bridge.core.expiring_lru import ExpiringLRU
from support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, module)


def keeper(**bounds: Any) -> ExpiringLRU[str, str]:
    return ExpiringLRU(**{"ttl": 60.0, "max_entries": 100, "max_bytes": 1_000, **bounds})


def there(kept: ExpiringLRU[str, str], *keys: str) -> list[str]:
    return [key for key in keys if kept.get(key) is not None]


def test_a_value_is_given_until_its_time_is_over_and_being_asked_for_does_not_prolong_it(clock: Clock) -> None:
    kept = keeper(ttl=60.0)
    kept.keep("a", "value", 5)
    clock.now += 59.9
    assert kept.get("a") == "value"
    clock.now += 0.1
    assert kept.get("a") is None
    assert kept.get("never there") is None


@pytest.mark.parametrize("come_by", [lambda kept: kept.get("other"), lambda kept: kept.keep("other", "x", 2_000)])
def test_whoever_comes_by_frees_what_is_past_its_time(clock: Clock, come_by: Any) -> None:
    kept = keeper()
    for key in ("a", "b", "c"):
        kept.keep(key, "value", 5)
        clock.now += 10
    assert there(kept, "a") == ["a"]
    clock.now += 45
    come_by(kept)
    assert len(kept) == 1
    assert there(kept, "a", "b", "c") == ["c"]


def test_a_value_kept_anew_has_its_whole_time_again(clock: Clock) -> None:
    kept = keeper(ttl=60.0)
    kept.keep("a", "old", 5)
    clock.now += 50
    kept.keep("a", "new", 7)
    clock.now += 50
    assert kept.get("a") == "new"
    assert len(kept) == 1


def test_of_too_many_values_those_least_recently_asked_for_go_first() -> None:
    kept = keeper(max_entries=3)
    for key in "abc":
        kept.keep(key, "value", 1)
    kept.get("a")
    kept.keep("d", "value", 1)
    kept.keep("e", "value", 1)
    assert there(kept, *"abcde") == ["a", "d", "e"]


def test_of_too_many_bytes_as_many_values_go_as_are_needed() -> None:
    kept = keeper(max_bytes=100)
    for key in "abcd":
        kept.keep(key, "value", 25)
    kept.keep("e", "value", 51)
    assert there(kept, *"abcde") == ["d", "e"]
    kept.keep("f", "value", 24)
    assert there(kept, *"abcdef") == ["d", "e", "f"]


def test_a_value_without_any_room_drives_no_other_out_but_replaces_its_own() -> None:
    kept = keeper(max_bytes=100)
    kept.keep("a", "value", 50)
    kept.keep("b", "value", 50)
    kept.keep("b", "larger", 101)
    assert there(kept, "a", "b") == ["a"]
    kept.keep("c", "value", 50)
    assert there(kept, "a", "c") == ["a", "c"]
