"""The order in which sessions were created."""

from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge import Settings
from grpc_tool_bridge.core.session_ages import Age, SessionAges
from grpc_tool_bridge.core.sessions import SessionStore

AGES = st.lists(st.tuples(st.integers(0, 9).map(float), st.text("abc", min_size=1, max_size=3)), unique=True)


@given(AGES, st.data())
def test_those_that_exist_come_in_order_after_any_of_them(ages: list[Age], data: st.DataObject) -> None:
    there = set(ages)
    order = SessionAges(there.__contains__)
    for age in ages:
        order.add(age)
    for age in data.draw(st.lists(st.sampled_from(ages), unique=True)) if ages else ():
        there.remove(age)
        order.end()
    assert list(order.after(None)) == sorted(there)
    for age in ages:
        assert list(order.after(age)) == sorted(other for other in there if other > age)


def test_sessions_that_come_and_go_leave_no_more_entries_than_there_are_sessions() -> None:
    there: set[Age] = set()
    order = SessionAges(there.__contains__)
    for number in range(20_000):
        there.add((float(number), "s"))
        order.add((float(number), "s"))
        there.discard((float(number - 10), "s"))
        if number >= 10:
            order.end()
    assert len(order._ages) < 2_000
    assert len(list(order.after(None))) == 10


async def test_a_store_gives_its_sessions_from_the_oldest_whichever_was_used_last() -> None:
    store = SessionStore(Settings())
    first, second, third = [await store.create_session(name) for name in "cab"]
    store.find("c")
    assert list(store.from_oldest()) == [first, second, third]
    assert list(store.from_oldest((first.created_at, "c"))) == [second, third]
    await store.cleanup_session("a")
    again = await store.create_session("a")
    assert list(store.from_oldest()) == [first, third, again]
