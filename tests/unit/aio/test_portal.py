"""The async API for a caller that has no event loop."""

import asyncio
import inspect
import pydoc
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import pytest

from grpc_tool_bridge.aio.portal import AsyncApi, Portal, SyncView
from support.patience import PATIENCE


class Counter(AsyncApi):
    """An async API of every shape."""

    label = "a counter"

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.inside = False

    async def thread(self) -> int:
        """Tells its thread."""
        await asyncio.sleep(0)
        return threading.get_ident()

    def plain(self, a: int, *, b: int) -> int:
        return a + b

    async def fail(self) -> None:
        raise LookupError("it")

    async def forever(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()

    async def count(self, n: int) -> AsyncIterator[int]:
        try:
            for number in range(n):
                yield number
            if n > 3:
                raise LookupError("too many")
        finally:
            self.closed.append("closed")

    def bare(self, n: int) -> "Bare":
        return Bare(n)

    async def child(self) -> "Counter":
        return Counter()

    async def siblings(self) -> list["Counter"]:
        return [Counter(), Counter()]

    async def is_me(self, other: object) -> bool:
        return other is self

    @property
    def children(self) -> Mapping[str, "Counter"]:
        return {"one": Counter()}

    async def __call__(self, n: int) -> int:
        return n + 1

    async def __aenter__(self) -> Self:
        self.inside = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.inside = False
        return kind is LookupError


class Bare:
    """An async iterator that cannot be closed."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __aiter__(self) -> "Bare":
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def view(counter: Counter, loop: asyncio.AbstractEventLoop) -> Any:
    return SyncView(counter, loop)


def test_a_method_blocks_until_it_is_done_in_the_loops_thread(view: Any) -> None:
    assert view.thread() != threading.get_ident()


def test_a_plain_method_is_called_in_the_loops_thread_too(view: Any) -> None:
    assert view.plain(1, b=2) == 3


def test_an_error_is_raised_here(view: Any) -> None:
    with pytest.raises(LookupError, match="it"):
        view.fail()


def test_a_method_keeps_its_name_and_docstring(view: Any) -> None:
    assert (view.thread.__name__, view.thread.__doc__) == ("thread", "Tells its thread.")


def test_a_method_keeps_its_signature(view: Any) -> None:
    assert str(inspect.signature(view.plain)) == "(a: int, *, b: int) -> int"
    assert str(inspect.signature(view.thread)) == "() -> int"


def test_the_names_of_a_view_are_those_of_what_is_behind_it(view: Any) -> None:
    names = [name for name in dir(view) if not name.startswith("_")]
    assert names == sorted(name for name in dir(Counter()) if not name.startswith("_"))
    assert "count" in names
    assert "__call__" in dir(view)


def test_help_explains_what_is_behind_a_view_if_that_has_a_docstring_of_its_own(view: Any, counter: Counter) -> None:
    assert view.__doc__ == SyncView.__doc__
    assert str(SyncView.__doc__).startswith("A blocking view of an object")
    counter.__doc__ = "Counts to ten."
    assert "Counts to ten." in pydoc.plain(pydoc.render_doc(view))


def test_attributes_are_read_as_they_are(view: Any) -> None:
    assert view.label == "a counter"
    with pytest.raises(AttributeError):
        view.nothing  # noqa: B018 - reading it is the test
    assert repr(view).startswith("<blocking view of <")


def test_an_async_iterator_comes_as_an_iterator(view: Any, counter: Counter) -> None:
    assert list(view.count(3)) == [0, 1, 2]
    assert counter.closed == ["closed"]
    assert list(view.bare(2)) == [1, 0]


def test_an_error_of_an_iterator_comes_after_its_values(view: Any) -> None:
    values = view.count(4)
    assert [next(values) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="too many"):
        next(values)


def test_an_iterator_that_is_left_closes_its_source(view: Any, counter: Counter) -> None:
    values = view.count(3)
    assert next(values) == 0
    values.close()
    assert counter.closed == ["closed"]


def test_what_has_an_async_api_itself_comes_as_a_view(view: Any) -> None:
    assert isinstance(view.child(), SyncView)
    assert view.child().plain(1, b=1) == 2
    assert view.children["one"].plain(1, b=1) == 2
    assert [(type(sibling), sibling.plain(1, b=1)) for sibling in view.siblings()] == [(SyncView, 2)] * 2


def test_a_view_that_is_handed_on_comes_as_what_it_is_a_view_of(view: Any) -> None:
    assert view.is_me(view)
    assert not view.is_me(view.child())


def test_what_can_be_called_and_entered_can_be_so_here(view: Any, counter: Counter) -> None:
    assert view(4) == 5
    with view as inside:
        assert counter.inside
        assert inside.plain(1, b=1) == 2
    assert not counter.inside
    with view:
        raise LookupError("swallowed, as the object says")
    with pytest.raises(KeyError), view:
        raise KeyError


def test_an_interrupted_wait_cancels_what_it_waited_for(
    view: Any, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    import concurrent.futures

    def interrupt(future: Any, timeout: float | None = None) -> None:
        counter.started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        view.forever()
    monkeypatch.undo()
    assert counter.cancelled.wait(PATIENCE)


async def test_a_view_inside_its_own_loop_is_refused_instead_of_waiting_for_itself(counter: Counter) -> None:
    view: Any = SyncView(counter, asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match=r"used inside its own event loop.*await"):
        view.thread()


async def test_a_view_of_another_loop_may_be_used_from_a_loop(view: Any) -> None:
    assert await asyncio.to_thread(view.plain, 1, b=2) == 3
    assert view.plain(1, b=2) == 3


def test_a_view_of_a_closed_loop_says_so_and_leaves_nothing_unawaited(counter: Counter) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    view: Any = SyncView(counter, loop)
    with pytest.raises(RuntimeError, match="this blocking view was closed"):
        view.thread()


def test_the_thread_of_the_caller_is_given_no_event_loop() -> None:
    # A framework that brings its own loop into the thread would find this one in its place.
    def current() -> asyncio.AbstractEventLoop:
        portal = Portal()
        try:
            return asyncio.get_event_loop_policy().get_event_loop()
        finally:
            portal.close()

    with ThreadPoolExecutor() as threads, pytest.raises(RuntimeError, match="no current event loop"):
        threads.submit(current).result(PATIENCE)


def test_a_call_that_is_interrupted_before_it_begins_never_runs(
    view: Any, counter: Counter, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import concurrent.futures

    def interrupt(future: Any, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    result = concurrent.futures.Future.result
    for _ in range(100):
        holds, go_on = threading.Event(), threading.Event()

        def hold(holds: threading.Event = holds, go_on: threading.Event = go_on) -> None:
            holds.set()
            assert go_on.wait(PATIENCE)

        loop.call_soon_threadsafe(hold)
        assert holds.wait(PATIENCE)
        monkeypatch.setattr(concurrent.futures.Future, "result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            view.forever()
        monkeypatch.setattr(concurrent.futures.Future, "result", result)
        go_on.set()
        assert view.plain(1, b=2) == 3
    assert not counter.started.is_set()
