"""Which faults a call gets: the same in each run, whatever other sessions do."""

from collections.abc import Mapping
from typing import Any

from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.chaos.reading import read_chaos


class ASession:
    def __init__(self, session_id: str, metadata: Mapping[str, str] | None = None) -> None:
        self.id = session_id
        self.metadata = metadata or {}


def made(*rules: dict[str, Any], seed: int = 1) -> Chaos:
    return read_chaos({"seed": seed, "rules": list(rules)})


def fails(chaos: Chaos, session: ASession, tool: str = "search") -> bool:
    injection = chaos.draw(chaos.rules_of(tool), tool, session)
    return injection is not None and injection.failure("before") is not None


HALF = {"error": "TimeoutError", "probability": 0.5}


def test_faults_do_not_depend_on_the_order_among_sessions() -> None:
    chaos = made(HALF)
    ann, bob = ASession("ann"), ASession("bob")
    one_by_one = [fails(chaos, ann) for _ in range(20)], [fails(chaos, bob) for _ in range(20)]
    other = made(HALF)
    ann, bob = ASession("ann"), ASession("bob")
    in_turns = [(fails(other, bob), fails(other, ann)) for _ in range(20)]
    assert one_by_one == ([a for _, a in in_turns], [b for b, _ in in_turns])
    assert one_by_one[0] != one_by_one[1]
    assert {*one_by_one[0]} == {True, False}


def test_another_seed_and_another_tool_have_other_faults() -> None:
    def of(seed: int, tool: str) -> list[bool]:
        chaos, session = made(HALF, seed=seed), ASession("ann")
        return [fails(chaos, session, tool) for _ in range(30)]

    assert of(1, "search") == of(1, "search")
    assert len({tuple(of(1, "search")), tuple(of(2, "search")), tuple(of(1, "find"))}) == 3


def test_sessions_with_generated_ids_have_the_same_faults() -> None:
    chaos = made(HALF)
    first, second = ASession("0" * 32), ASession("f" * 32)
    assert [fails(chaos, first) for _ in range(20)] == [fails(chaos, second) for _ in range(20)]


def test_a_session_that_is_created_again_starts_again() -> None:
    chaos = made({"error": "TimeoutError", "last_call": 1})
    assert [fails(chaos, session) for session in (ASession("ann"), ASession("ann"))] == [True, True]


def test_delays_add_up_and_stay_within_their_jitter() -> None:
    chaos = made({"latency": 1.0}, {"latency": 0.5, "jitter": 0.2})
    session = ASession("ann")
    delays = []
    for _ in range(50):
        injection = chaos.draw(chaos.rules_of("search"), "search", session)
        assert injection is not None
        delays.append(injection.latency())
    assert all(1.3 <= delay <= 1.7 for delay in delays)
    assert len(set(delays)) == 50


def test_a_delay_is_never_below_zero() -> None:
    chaos, session = made({"jitter": 1.0}), ASession("ann")
    delays = [chaos.draw(chaos.rules, "search", session).latency() for _ in range(50)]  # type: ignore[union-attr]
    assert min(delays) == 0
    assert max(delays) > 0


def test_of_several_failures_the_first_happens() -> None:
    chaos = made({"error": "TimeoutError"}, {"drop": True})
    injection = chaos.draw(chaos.rules, "search", ASession("ann"))
    assert injection is not None
    failure = injection.failure("before")
    assert failure is not None
    assert failure[1].error == "TimeoutError"
    assert injection.failure("after") is None


def test_a_truncation_is_no_failure_of_a_call() -> None:
    chaos = made({"truncate_after": 2})
    injection = chaos.draw(chaos.rules, "search", ASession("ann"))
    assert injection is not None
    assert injection.failure("before") is None
    assert [injection.truncation(chunks) is not None for chunks in range(4)] == [False, False, True, False]


def test_a_tool_that_no_rule_matches_has_none() -> None:
    assert made({"tool": "search", "drop": True}).rules_of("find") == ()
