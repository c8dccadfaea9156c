"""Which calls are in the sample that watchers are told of."""

import pytest

from grpc_tool_bridge.core import sample as module
from grpc_tool_bridge.core.sample import BURST_SECONDS, Sample, TokenBucket
from support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, module)


def taken(bucket: TokenBucket, tries: int = 1_000) -> int:
    return sum(bucket.take() for _ in range(tries))


def test_a_bucket_allows_a_burst_and_then_its_rate(clock: Clock) -> None:
    bucket = TokenBucket(16, 128)
    assert bucket.has_token
    assert taken(bucket) == 128
    assert not bucket.has_token
    clock.now += 1
    assert bucket.has_token
    assert taken(bucket) == 16
    clock.now += 3_600
    assert taken(bucket) == 128


def test_a_sample_takes_as_many_as_the_one_who_asked_for_most(clock: Clock) -> None:
    sample = Sample()
    sample.follow([(8, ""), (64, "")])
    assert sample.wants("s")
    assert sum(sample.take("s") for _ in range(1_000)) == 64 * BURST_SECONDS
    assert not sample.wants("s")
    clock.now += 1
    assert sum(sample.take("s") for _ in range(1_000)) == 64


def test_one_who_joins_does_not_refill_it(clock: Clock) -> None:
    sample = Sample()
    sample.follow([(64, "")])
    while sample.take("s"):
        pass
    sample.follow([(64, ""), (64, "")])
    assert not sample.take("s")
    sample.follow([(1, "")])
    assert sum(sample.take("s") for _ in range(1_000)) == BURST_SECONDS


def test_only_sessions_that_somebody_wants_take_part(clock: Clock) -> None:
    sample = Sample()
    assert not sample.wants("mine")
    sample.follow([(64, "mine"), (64, "yours")])
    assert [sample.wants(name) for name in ("mine", "yours", "other")] == [True, True, False]
    assert [sample.take(name) for name in ("mine", "yours", "other")] == [True, True, False]
    sample.follow([(64, "mine"), (64, "")])
    assert sample.wants("other")


def test_calls_that_are_left_out_are_counted_by_session(clock: Clock) -> None:
    sample = Sample()
    sample.follow([(64, "mine"), (64, "")])
    for name in ("mine", "other", "mine"):
        sample.omit(name)
    assert (sample.omitted(""), sample.omitted("mine")) == (3, 2)
    sample.follow([(64, "mine"), (64, "yours")])
    sample.omit("yours")
    assert (sample.omitted(""), sample.omitted("mine"), sample.omitted("yours")) == (4, 2, 1)


def test_a_call_that_is_not_to_be_in_it_is_counted(clock: Clock) -> None:
    sample = Sample()
    sample.follow([(64, "mine")])
    assert not sample.leaves_out("mine", clock.now)
    assert sample.leaves_out("other", clock.now)
    while sample.take("mine"):
        pass
    assert sample.leaves_out("mine", clock.now)
    assert not sample.leaves_out("mine", clock.now + 1)
    assert (sample.omitted("mine"), sample.omitted("")) == (1, 2)
