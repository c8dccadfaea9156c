"""Coroutines that are begun at once."""

import asyncio
import contextvars
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio.lowlevel
import pytest

from grpc_tool_bridge.aio.eager import EagerTasks
from support.patience import PATIENCE

# Nothing here takes long, unless it is broken.

LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("LABEL", default="unset")

Outcome = tuple[Any, BaseException | None]


class Starter:
    """Starts coroutines and keeps what became of them.

    Attributes:
        tasks: What is tested.
        outcomes: Results and errors, in the order in which they came.
    """

    def __init__(self) -> None:
        self.tasks = EagerTasks()
        self.outcomes: list[Outcome] = []

    def start(self, coroutine: Any) -> "asyncio.Task[Any] | None":
        return self.tasks.start(coroutine, self.done)

    def done(self, result: Any, error: BaseException | None) -> None:
        self.outcomes.append((result, error))

    async def outcome(self) -> Outcome:
        """Waits for the next outcome and takes it."""
        async with asyncio.timeout(PATIENCE):
            while not self.outcomes:  # noqa: ASYNC110 - what is looked at is no event
                await asyncio.sleep(0)
        return self.outcomes.pop(0)

    async def warm_up(self) -> None:
        """Lets the task be made that waits for a coroutine's first step."""
        self.start(nothing())
        await self.outcome()
        await asyncio.sleep(0)
        assert self.start(nothing()) is None
        self.outcomes.clear()


async def nothing() -> None:
    """Ends at its first step."""


async def returned(value: Any) -> Any:
    return value


@pytest.fixture
async def starter() -> AsyncIterator[Starter]:
    starter = Starter()
    await starter.warm_up()
    yield starter
    async with asyncio.timeout(PATIENCE):
        await starter.tasks.aclose()


async def test_what_finishes_at_its_first_step_is_done_before_start_returns(starter: Starter) -> None:
    assert starter.start(returned(7)) is None
    assert starter.outcomes == [(7, None)]
    assert len(starter.tasks) == 0


async def test_the_very_first_coroutine_finishes_as_well() -> None:
    starter = Starter()
    assert starter.start(returned(7)) is not None
    assert await starter.outcome() == (7, None)
    await starter.tasks.aclose()


async def test_many_that_begin_in_the_first_turn_all_finish() -> None:
    starter = Starter()
    for number in range(3):
        starter.start(returned(number))
    assert [await starter.outcome() for _ in range(3)] == [(0, None), (1, None), (2, None)]
    await starter.tasks.aclose()


async def test_an_error_of_the_first_step_is_handed_over(starter: Starter) -> None:
    async def fails() -> None:
        raise LookupError("it")

    assert starter.start(fails()) is None
    result, error = starter.outcomes[0]
    assert result is None
    assert isinstance(error, LookupError)


async def test_an_error_after_the_first_step_is_handed_over(starter: Starter) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("it")

    assert starter.start(fails()) is not None
    assert isinstance((await starter.outcome())[1], LookupError)


async def test_an_error_of_the_very_first_coroutine_is_handed_over() -> None:
    async def fails() -> None:
        raise LookupError("it")

    starter = Starter()
    starter.start(fails())
    assert isinstance((await starter.outcome())[1], LookupError)
    await starter.tasks.aclose()


@pytest.mark.parametrize("suspends", [False, True])
async def test_sys_exit_ends_neither_the_loop_nor_the_caller(starter: Starter, suspends: bool) -> None:
    async def leaves() -> None:
        if suspends:
            await asyncio.sleep(0)
        sys.exit(3)

    starter.start(leaves())
    assert isinstance((await starter.outcome())[1], SystemExit)
    starter.start(returned(7))
    assert await starter.outcome() == (7, None)


async def test_what_is_awaited_in_the_first_step_comes_back_as_its_result(starter: Starter) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def waits() -> str:
        first = await future
        await asyncio.sleep(0)
        return f"{first} {await returned('and more')}"

    assert starter.start(waits()) is not None
    assert len(starter.tasks) == 1
    future.set_result("this")
    assert await starter.outcome() == ("this and more", None)
    await asyncio.sleep(0)
    assert len(starter.tasks) == 0


async def test_what_was_awaited_may_be_there_before_the_task_waits_for_it(starter: Starter) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> int:
        return await future

    starter.start(waits())
    future.set_result(1)
    assert await starter.outcome() == (1, None)


async def test_an_error_of_what_is_awaited_may_be_caught(starter: Starter) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def waits() -> str:
        try:
            await future
        except LookupError as error:
            return f"caught {error}"
        raise AssertionError("nothing was raised")

    starter.start(waits())
    future.set_exception(LookupError("it"))
    assert await starter.outcome() == ("caught it", None)


# ------------------------------------------------------------------------------------- whose task the first step is


async def test_the_first_step_runs_in_a_task_of_its_own(starter: Starter) -> None:
    seen: list[Any] = []

    async def looks() -> None:
        seen.append(asyncio.current_task())

    me = asyncio.current_task()
    starter.start(looks())
    assert asyncio.current_task() is me
    assert seen[0] is not me
    assert isinstance(seen[0], asyncio.Task)


async def test_the_task_of_the_first_step_is_the_one_that_goes_on(starter: Starter) -> None:
    async def looks() -> list[Any]:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return [first, asyncio.current_task()]

    task = starter.start(looks())
    assert (await starter.outcome())[0] == [task, task]


async def test_a_coroutine_may_be_begun_where_no_task_runs(starter: Starter) -> None:
    seen: list[Any] = []

    async def looks() -> None:
        seen.append(asyncio.current_task())

    asyncio.get_running_loop().call_soon(starter.start, looks())
    assert await starter.outcome() == (None, None)
    assert isinstance(seen[0], asyncio.Task)


async def test_one_that_begins_while_another_makes_its_first_step_has_its_own_task(starter: Starter) -> None:
    seen: list[Any] = []

    async def inner() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async def outer() -> None:
        starter.start(inner())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    starter.start(outer())
    await starter.outcome()
    await starter.outcome()
    assert len(seen) == 3
    assert len(set(seen)) == 2


async def test_a_time_out_in_the_first_step_ends_what_it_is_around(starter: Starter) -> None:
    async def waits() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "timed out"
        raise AssertionError("no time-out")

    starter.start(waits())
    assert await starter.outcome() == ("timed out", None)
    assert not _me().cancelling()


async def test_a_time_out_that_is_over_already_ends_what_it_is_around(starter: Starter) -> None:
    async def waits() -> str:
        try:
            async with asyncio.timeout(-1):
                await asyncio.sleep(0)
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "timed out"
        raise AssertionError("no time-out")

    starter.start(waits())
    assert await starter.outcome() == ("timed out", None)


async def test_a_time_out_that_was_not_reached_leaves_nothing_behind(starter: Starter) -> None:
    async def limited() -> int:
        async with asyncio.timeout(PATIENCE):
            return len(await returned("x"))

    assert starter.start(limited()) is None
    assert starter.start(limited()) is None
    assert starter.outcomes == [(1, None), (1, None)]


async def test_a_task_group_in_the_first_step_gathers_its_tasks(starter: Starter) -> None:
    async def gathers() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(returned(number)) for number in range(3)]
        return [task.result() for task in tasks]

    starter.start(gathers())
    assert await starter.outcome() == ([0, 1, 2], None)


async def test_a_task_group_whose_task_fails_cancels_the_coroutine_and_not_the_caller(starter: Starter) -> None:
    async def fails() -> None:
        raise LookupError("it")

    async def gathers() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.get_running_loop().create_future()

    starter.start(gathers())
    _, error = await starter.outcome()
    assert isinstance(error, ExceptionGroup)
    assert not _me().cancelling()


async def test_a_cancel_scope_in_the_first_step_ends_what_it_is_around(starter: Starter) -> None:
    async def scoped() -> list[bool]:
        with anyio.move_on_after(0.001) as timed:
            await anyio.sleep_forever()
        with anyio.CancelScope() as cancelled:
            cancelled.cancel()
            await anyio.sleep_forever()
        return [timed.cancelled_caught, cancelled.cancelled_caught]

    starter.start(scoped())
    assert await starter.outcome() == ([True, True], None)
    assert not _me().cancelling()


async def test_a_cancel_scope_that_is_left_in_the_first_step_is_not_the_next_ones(starter: Starter) -> None:
    async def cancels() -> None:
        with anyio.CancelScope() as scope:
            await nothing()
            scope.cancel()

    async def waits() -> str:
        await anyio.lowlevel.checkpoint()
        return "whole"

    starter.start(cancels())
    assert await starter.outcome() == (None, None)
    starter.start(waits())
    assert await starter.outcome() == ("whole", None)


async def test_an_anyio_task_group_in_the_first_step_gathers_its_tasks(starter: Starter) -> None:
    async def gathers() -> list[int]:
        numbers: list[int] = []

        async def adds(number: int) -> None:
            await anyio.lowlevel.checkpoint()
            numbers.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(adds, number)
        return sorted(numbers)

    starter.start(gathers())
    assert await starter.outcome() == ([0, 1, 2], None)


async def test_a_done_callback_of_the_running_task_is_called_when_the_coroutine_ends(starter: Starter) -> None:
    ended: list[Any] = []

    async def listens() -> None:
        _me().add_done_callback(ended.append)

    starter.start(listens())
    assert await starter.outcome() == (None, None)
    async with asyncio.timeout(PATIENCE):
        while not ended:  # noqa: ASYNC110 - what is looked at is no event
            await asyncio.sleep(0)
    starter.start(returned(1))
    assert await starter.outcome() == (1, None)
    assert len(ended) == 1


# ---------------------------------------------------------------------------------------------- context variables


async def test_context_variables_of_a_first_step_do_not_leak(starter: Starter) -> None:
    async def sets(value: str) -> str:
        before = LABEL.get()
        LABEL.set(value)
        return before

    for value in ("a", "b", "c"):
        starter.start(sets(value))
        assert await starter.outcome() == ("unset", None)
        # A task of its own was given up for the variable; the next one waits a turn later.
        await asyncio.sleep(0)
    assert LABEL.get() == "unset"


async def test_context_variables_of_a_coroutine_that_goes_on_stay_its_own(starter: Starter) -> None:
    async def sets(value: str) -> tuple[str, str]:
        before = LABEL.get()
        LABEL.set(value)
        await asyncio.sleep(0)
        return before, LABEL.get()

    for value in ("a", "b", "c"):
        starter.start(sets(value))
    assert [(await starter.outcome())[0] for _ in range(3)] == [("unset", "a"), ("unset", "b"), ("unset", "c")]
    assert LABEL.get() == "unset"


async def test_a_variable_that_was_reset_leaves_the_task_to_the_next(starter: Starter) -> None:
    tasks: list[Any] = []

    async def sets() -> None:
        tasks.append(asyncio.current_task())
        LABEL.reset(LABEL.set("a"))

    starter.start(sets())
    starter.start(sets())
    await starter.outcome()
    await starter.outcome()
    assert len(tasks) == 2


# ------------------------------------------------------------------------------------------------------ cancelling


async def test_a_cancel_in_the_turn_of_the_start_ends_what_is_awaited(starter: Starter) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cleaned: list[str] = []

    async def waits() -> None:
        try:
            await future
        finally:
            cleaned.append("cleaned")

    task = starter.start(waits())
    assert task is not None
    task.cancel()
    assert isinstance((await starter.outcome())[1], asyncio.CancelledError)
    assert cleaned == ["cleaned"]
    assert future.cancelled()


async def test_a_cancel_in_the_turn_of_the_start_ends_a_coroutine_that_only_gave_way(starter: Starter) -> None:
    async def gives_way() -> str:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "caught"
        raise AssertionError("nobody cancelled")

    task = starter.start(gives_way())
    assert task is not None
    task.cancel()
    assert await starter.outcome() == ("caught", None)


async def test_a_cancel_in_the_turn_of_the_start_ends_one_whose_result_is_there_already(starter: Starter) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> int:
        return await future

    task = starter.start(waits())
    assert task is not None
    future.set_result(1)
    task.cancel()
    assert isinstance((await starter.outcome())[1], asyncio.CancelledError)


async def test_a_cancel_before_the_very_first_step_is_an_outcome() -> None:
    starter = Starter()
    task = starter.start(returned(7))
    assert task is not None
    task.cancel()
    assert isinstance((await starter.outcome())[1], asyncio.CancelledError)
    await starter.tasks.aclose()


async def test_a_cancel_later_reaches_what_is_awaited(starter: Starter) -> None:
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    task = starter.start(waits())
    assert task is not None
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    assert isinstance((await starter.outcome())[1], asyncio.CancelledError)


async def test_a_coroutine_may_clean_up_after_it_was_cancelled(starter: Starter) -> None:
    async def waits() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "cleaned up"
        raise AssertionError("nobody cancelled")

    task = starter.start(waits())
    assert task is not None
    task.cancel()
    assert await starter.outcome() == ("cleaned up", None)


async def test_a_coroutine_that_cancels_its_own_task_is_cancelled_where_it_next_waits(starter: Starter) -> None:
    steps: list[str] = []

    async def cancels() -> None:
        _me().cancel()
        steps.append("goes on")
        await asyncio.sleep(0)
        steps.append("waited")

    starter.start(cancels())
    assert isinstance((await starter.outcome())[1], asyncio.CancelledError)
    assert steps == ["goes on"]
    assert not _me().cancelling()


async def test_a_coroutine_that_cancels_its_own_task_and_ends_harms_none_that_follows(starter: Starter) -> None:
    async def cancels() -> str:
        _me().cancel()
        return "ended"

    for _ in range(3):
        starter.start(cancels())
        result, error = await starter.outcome()
        # Like any task that was cancelled; one that ended at its first step never heard of it.
        assert result == "ended" or isinstance(error, asyncio.CancelledError)
    starter.start(gives_way_and_returns(7))
    assert await starter.outcome() == (7, None)


async def test_a_coroutine_that_takes_back_its_own_cancel_harms_none_that_follows(starter: Starter) -> None:
    async def hesitates() -> None:
        _me().cancel()
        _me().uncancel()

    starter.start(hesitates())
    assert await starter.outcome() == (None, None)
    starter.start(gives_way_and_returns(7))
    assert await starter.outcome() == (7, None)
    await asyncio.sleep(0)
    starter.start(gives_way_and_returns(8))
    assert await starter.outcome() == (8, None)


# --------------------------------------------------------------------------------------------------------- the end


async def test_closing_cancels_all_and_waits_for_their_clean_up() -> None:
    cleaned: list[str] = []

    async def works() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            cleaned.append("cleaned")

    starter = Starter()
    starter.start(works())
    await starter.warm_up()
    for _ in range(3):
        starter.start(works())
    await asyncio.sleep(0)
    assert len(starter.tasks) == 4
    async with asyncio.timeout(PATIENCE):
        await starter.tasks.aclose()
    assert cleaned == ["cleaned"] * 4
    assert [type(error) for _, error in starter.outcomes] == [asyncio.CancelledError] * 4
    assert asyncio.all_tasks() == {_me()}


async def test_closing_nothing_is_fine_and_more_than_once() -> None:
    tasks = EagerTasks()
    await tasks.aclose()
    starter = Starter()
    starter.start(nothing())
    await starter.tasks.aclose()
    await starter.tasks.aclose()
    assert asyncio.all_tasks() == {_me()}


def test_a_loop_that_ends_under_a_coroutine_closes_it() -> None:
    cleaned: list[str] = []

    async def works() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append("cleaned")

    async def leave() -> None:
        starter = Starter()
        await starter.warm_up()
        starter.start(works())
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    # It would tell of tasks that were still at work.
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(leave())
    loop.close()
    gc.collect()
    assert cleaned == ["cleaned"]


async def gives_way_and_returns(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def _me() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task
