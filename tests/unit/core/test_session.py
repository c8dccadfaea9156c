"""A session: what it is given, and what it has before it is used."""

from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.session import Session, SessionHold
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig


def test_an_unused_session_holds_nothing_and_has_the_hubs_defaults() -> None:
    session = Session("s", {}, None)
    parts = (session.tools, session.limiter, session.calls, session.keyed, session.cache, session.memory)
    assert [part for part in (*parts, session.variables, session.idle) if part is not None] == []
    assert (session.call_timeout, session.max_calls, session.caching) == (None, 0, False)
    assert (session.active, session.variable_count, session.ended) == (0, 0, None)
    assert session.metadata is Session("t", {}, None).metadata


def test_a_config_sets_its_own_limits_and_metadata_is_its_own() -> None:
    metadata = {"k": "v"}
    config = SessionConfig(default_timeout_ms=1_500, max_concurrent_tools=3, enable_caching=True)
    session = Session("s", metadata, config)
    metadata["k"] = "w"
    assert (session.metadata, session.call_timeout, session.max_calls, session.caching) == ({"k": "v"}, 1.5, 3, True)


async def test_calls_that_run_or_wait_are_active() -> None:
    session = Session("s", {}, None)
    session.limiter = ConcurrencyLimiter(1, 1, "s")
    session.limiter.try_acquire()
    assert session.active == 1


def test_a_hold_counts_until_it_is_released_and_keeps_no_session_in_memory() -> None:
    touched: list[str] = []
    session = Session("s", {}, None)
    hold = SessionHold(session, lambda one: touched.append(one.id))
    assert (session.links, hold.is_needed) == (1, True)
    hold.release()
    assert (session.links, touched) == (0, ["s"])
    hold = SessionHold(session, lambda one: touched.append(one.id))
    del session
    assert not hold.is_needed
    hold.release()
    assert touched == ["s"]
