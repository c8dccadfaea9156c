"""Processes for tools; every test runs real ones."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.errors import (
    ConflictError,
    MessageTooLargeError,
    NotFoundError,
    SerializationError,
    ToolExecutionError,
    UnavailableError,
    UnimplementedError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, LogRecord, Progress, VariableInfo
from grpc_tool_bridge.runner import processes as module
from grpc_tool_bridge.runner.aging import AgeLimits
from grpc_tool_bridge.runner.process import RaisedElsewhereError
from grpc_tool_bridge.runner.processes import ToolProcesses, available_cores
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool, tool
from grpc_tool_bridge.values.scalars import PackedValue
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.patience import PATIENCE
from support.waiting import is_gone
from unit.runner import process_tools as made

# One loop for all, so that most tests can use the same processes: to spawn one takes longer than to run its test.
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024


def pool(max_processes: int) -> ToolProcesses:
    return ToolProcesses(max_processes, max_depth=100, max_message_bytes=10 * MIB)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[ToolProcesses]:
    made = pool(2)
    yield made
    await made.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def single() -> AsyncIterator[ToolProcesses]:
    made = pool(1)
    yield made
    await made.aclose()


def in_process(function: Callable[..., Any]) -> Tool:
    return tool(executor="process")(function)


def value_of(packed: Any) -> Any:
    assert isinstance(packed, PackedValue)
    any_message = serialize_value(None)
    any_message.type_url, any_message.value = packed
    return deserialize_value(any_message)


async def run(
    processes: ToolProcesses, function: Any, *args: Any, context: ToolContext | None = None, **kwargs: Any
) -> Any:
    chosen = function if isinstance(function, Tool) else in_process(function)
    return value_of(await processes.run(chosen, args, kwargs, context))


async def settled(condition: Callable[[], bool]) -> None:
    """Waits until ``condition`` holds; the test's own time-out bounds it."""
    while not condition():
        await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.005)


async def noted(note: Path, lines: int = 1) -> list[int]:
    """Waits until a tool has noted its processes."""
    words: list[str] = []

    def is_there() -> bool:
        words[:] = note.read_text().split() if note.exists() else []
        return len(words) >= lines

    await settled(is_there)
    return [int(word) for word in words]


class Runtime:
    """Stands behind the context of a call."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.revision = 0
        self.pulled: list[int] = []
        self.closed = 0
        self.hanging = asyncio.Event()

    async def get_variable(self, name: str) -> Any:
        if name not in self.variables:
            raise NotFoundError(f"no {name}", error_type="VariableNotFound")
        return self.variables[name]

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        if expected_revision not in (None, self.revision):
            raise ConflictError(f"revision is {self.revision}")
        self.revision += 1
        self.variables[name] = value
        return self.revision

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        del self.variables[name]

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        return [VariableInfo(name=name) for name in self.variables if name.startswith(prefix)]

    async def ask(self, question: Ask) -> Answer:
        raise UnimplementedError(f"nobody is asked: {question.message}")

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if tool_id == "hang":
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.closed += 1
        if tool_id == "fails":
            raise ToolExecutionError(tool_id, "KeyError", "k", {"origin": "tool"})
        return args[0] * kwargs["times"]

    async def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
        try:
            for number in range(args[0]):
                self.pulled.append(number)
                yield number
        finally:
            self.closed += 1


def context_of(runtime: Runtime, emit: Callable[[Progress | LogRecord], None] | None = None) -> ToolContext:
    loop = asyncio.get_running_loop()
    return ToolContext(
        session_id="s",
        tool_name="t",
        request_id="r",
        metadata={"who": "me"},
        deadline=loop.time() + 60,
        loop=loop,
        runtime=runtime,
        emit=emit,
    )


class TestResults:
    async def test_a_function_runs_in_another_process_which_is_used_again(self, processes: ToolProcesses) -> None:
        pids = {await run(processes, made.pid) for _ in range(3)}
        assert len(pids) == 1
        assert os.getpid() not in pids

    async def test_arguments_arrive_as_the_signature_says(self, processes: ToolProcesses) -> None:
        assert await run(processes, made.swap, made.Point(1), color=made.Color.RED) == [2, 1, True]

    async def test_arguments_that_are_encoded_already_go_on_as_they_are(self, processes: ToolProcesses) -> None:
        encoded = serialize_value({"x": 5})
        assert await run(processes, made.swap, encoded, color=serialize_value("red")) == [2, 5, True]

    @pytest.mark.parametrize("value", [None, (1, {2.0}), "ü", float("inf"), 2**70], ids=repr)
    async def test_values_come_back_as_they_are(self, processes: ToolProcesses, value: Any) -> None:
        assert await run(processes, made.echo, value) == value

    async def test_values_larger_than_any_buffer_go_both_ways(self, processes: ToolProcesses) -> None:
        value = os.urandom(5 * MIB)
        assert await run(processes, made.echo, value) == value

    async def test_what_a_plain_function_gives_to_be_awaited_is_awaited(self, processes: ToolProcesses) -> None:
        assert await run(processes, made.later, 8) == 8

    async def test_a_process_imports_no_more_of_the_bridge_than_it_needs(self, single: ToolProcesses) -> None:
        modules = await run(single, made.modules)
        assert "grpc_tool_bridge.tools.tool" in modules
        assert [
            name
            for name in modules
            if name.startswith(("grpc.", "grpc_tool_bridge.core", "grpc_tool_bridge.transport"))
        ] == []

    async def test_what_a_tool_prints_is_there_however_its_process_ends(
        self, single: ToolProcesses, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        with pytest.raises(UnavailableError, match="exit code 0"):
            await run(single, made.say_and_die, "said")
        assert capfd.readouterr().out == "said\n"

    async def test_a_tool_that_the_module_has_as_such_is_found(self, processes: ToolProcesses) -> None:
        assert await run(processes, made.decorated_function, 4) == 5


class TestErrors:
    async def test_what_the_tool_raises_arrives_whole(self, processes: ToolProcesses) -> None:
        with pytest.raises(RaisedElsewhereError, match="BusyError: no room") as got:
            await run(processes, made.fail, "no room")
        info = got.value.info
        assert (info.type, info.message, info.retryable, info.details["origin"]) == (
            "BusyError",
            "no room",
            True,
            "tool",
        )
        assert "in fail\n    raise BusyError(text)" in info.stacktrace
        assert "runner/child.py" not in info.stacktrace

    async def test_leaving_the_process_is_an_error_of_the_tool_and_the_process_goes_on(
        self, processes: ToolProcesses
    ) -> None:
        pid = await run(processes, made.pid)
        with pytest.raises(RaisedElsewhereError, match="SystemExit: 3"):
            await run(processes, made.leave, 3)
        assert await run(processes, made.pid) == pid

    async def test_a_result_that_cannot_be_sent_is_refused_with_the_reason(self, processes: ToolProcesses) -> None:
        with pytest.raises(SerializationError, match="the result of nested: "):
            await run(processes, made.nested)
        with pytest.raises(MessageTooLargeError, match="the result of echo takes"):
            await run(processes, made.echo, b"x" * 11 * MIB)

    async def test_arguments_that_do_not_fit_are_refused_with_the_reason(self, processes: ToolProcesses) -> None:
        with pytest.raises(ValidationError, match="argument 'text'"):
            await run(processes, made.fail, 5)

    async def test_a_process_that_dies_under_its_call_says_so_and_the_pool_heals(
        self, processes: ToolProcesses
    ) -> None:
        with pytest.raises(UnavailableError, match=r"die: the process that ran it died \(exit code 7\)"):
            await run(processes, made.die, 7)
        with pytest.raises(UnavailableError, match=r"killed by signal 11"):
            await run(processes, os_kill_self, signal.SIGSEGV)
        assert await run(processes, made.echo, 1) == 1

    async def test_a_process_that_died_idle_costs_no_call(self, single: ToolProcesses) -> None:
        pid = await run(single, made.pid)
        os.kill(pid, signal.SIGKILL)
        await settled(lambda: not any(process.free for process in single._living))
        assert await run(single, made.pid) != pid

    async def test_a_process_that_the_system_refuses_is_said_so(
        self, single: ToolProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            with pytest.raises(UnavailableError, match="the system cannot start another process"):
                await run(single, made.pid)
        assert await run(single, made.pid)


def os_kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


class TestStreams:
    async def test_values_come_in_order(self, processes: ToolProcesses) -> None:
        values = processes.iterate(in_process(made.count), [100], {}, None, 3)
        assert [value_of(value) async for value in values] == list(range(100))
        assert processes.busy == 0

    async def test_the_generator_is_at_most_its_buffer_ahead(self, processes: ToolProcesses, tmp_path: Path) -> None:
        note = tmp_path / "note"
        values = processes.iterate(in_process(made.note_each), [note], {}, None, 4)
        for taken in range(1, 20):
            assert value_of(await anext(values)) == taken - 1
            assert taken <= len(await noted(note, taken)) <= taken + 4
        await values.aclose()

    async def test_a_reader_that_leaves_ends_the_process_of_a_generator_at_work(
        self, processes: ToolProcesses, tmp_path: Path
    ) -> None:
        note = tmp_path / "note"
        values = processes.iterate(in_process(made.note_each), [note], {}, None, 2)
        await anext(values)
        pid = (await noted(note))[0]
        await values.aclose()
        await settled(lambda: is_gone(pid))
        assert await run(processes, made.echo, 2) == 2

    async def test_a_reader_that_leaves_a_generator_that_has_ended_keeps_its_process(
        self, single: ToolProcesses
    ) -> None:
        pid = await run(single, made.pid)
        values = single.iterate(in_process(made.count), [2], {}, None, 8)
        await anext(values)
        await settled(lambda: all(process.free for process in single._living))
        await values.aclose()
        assert await run(single, made.pid) == pid

    async def test_an_error_comes_after_the_values(self, processes: ToolProcesses) -> None:
        values = processes.iterate(in_process(made.count_and_fail), [], {}, None, 8)
        assert value_of(await anext(values)) == 1
        with pytest.raises(RaisedElsewhereError, match="LookupError: gone"):
            await anext(values)

    async def test_a_value_over_the_limit_ends_the_stream_with_the_reason(self, processes: ToolProcesses) -> None:
        values = processes.iterate(in_process(made.big_items), [2 * MIB], {}, None, 8)
        assert value_of(await anext(values)) == b"x" * 2 * MIB
        with pytest.raises(MessageTooLargeError, match="the result of big_items"):
            await anext(values)


class TestCancellation:
    async def test_a_cancelled_call_ends_its_process_and_no_other(
        self, processes: ToolProcesses, tmp_path: Path
    ) -> None:
        notes = [tmp_path / "hangs", tmp_path / "goes on"]
        hangs = asyncio.create_task(run(processes, made.hang, notes[0]))
        pid = (await noted(notes[0]))[0]
        goes_on = asyncio.create_task(run(processes, made.meet, notes[1], tmp_path / "end"))
        await settled(notes[1].exists)
        assert processes.busy == 2
        hangs.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hangs
        await settled(lambda: is_gone(pid))
        assert processes.busy == 1
        (tmp_path / "end").write_text("")
        assert await goes_on != pid
        assert await run(processes, made.echo, 3) == 3

    async def test_a_process_that_takes_no_notice_of_anything_ends_all_the_same(
        self, processes: ToolProcesses, tmp_path: Path
    ) -> None:
        note = tmp_path / "note"
        task = asyncio.create_task(run(processes, made.hang, note))
        pid = (await noted(note))[0]
        os.kill(pid, signal.SIGSTOP)
        task.cancel()
        await asyncio.wait([task])
        await settled(lambda: is_gone(pid))

    async def test_what_the_tool_has_started_ends_with_it(self, processes: ToolProcesses, tmp_path: Path) -> None:
        note = tmp_path / "note"
        task = asyncio.create_task(run(processes, made.hang_with_a_child, note))
        pids = await noted(note, 2)
        task.cancel()
        await asyncio.wait([task])
        await settled(lambda: all(is_gone(pid) for pid in pids))

    async def test_a_call_that_is_cancelled_before_its_process_is_there_leaves_none(
        self, single: ToolProcesses
    ) -> None:
        task = asyncio.create_task(run(single, made.pid))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert single.busy == 0
        assert await run(single, made.echo, 4) == 4


class TestPool:
    async def test_two_calls_at_once_run_in_two_processes(self, processes: ToolProcesses, tmp_path: Path) -> None:
        one, two = tmp_path / "1", tmp_path / "2"
        pids = await asyncio.gather(run(processes, made.meet, one, two), run(processes, made.meet, two, one))
        assert len(set(pids)) == 2

    async def test_calls_beyond_the_cap_wait_in_order(self, single: ToolProcesses, tmp_path: Path) -> None:
        order: list[int] = []
        begun, end = tmp_path / "begun", tmp_path / "end"

        async def noting(number: int) -> None:
            order.append(await run(single, made.echo, number))

        first = asyncio.create_task(run(single, made.meet, begun, end))
        await settled(begun.exists)
        rest = [asyncio.create_task(noting(number)) for number in range(4)]
        await asyncio.sleep(0)
        assert single.busy == len(single._living) == 1
        assert (single.limit, single.fullest) == (1, (1, 4))
        rest[1].cancel()
        end.write_text("")
        await first
        await asyncio.wait(rest)
        assert order == [0, 2, 3]
        assert single.fullest == (0, 0)

    async def test_an_idle_process_ends_and_the_next_call_gets_another(
        self, single: ToolProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_IDLE_SECONDS", 0.001)
        pid = await run(single, made.pid)
        await settled(lambda: is_gone(pid) and not single._living)
        assert await run(single, made.pid) != pid

    async def test_closing_fails_the_calls_and_leaves_no_process(self, tmp_path: Path) -> None:
        closed = pool(2)
        await run(closed, made.pid)
        task = asyncio.create_task(run(closed, made.hang, tmp_path / "note"))
        pid = (await noted(tmp_path / "note"))[0]
        await closed.aclose()
        assert is_gone(pid)
        with pytest.raises(UnavailableError, match="killed by signal 9"):
            await task
        with pytest.raises(UnavailableError, match="the processes for tools were ended"):
            await run(closed, made.pid)

    async def test_there_is_a_process_for_each_core_unless_said_otherwise(self) -> None:
        assert pool(0)._max_processes == available_cores() >= 1


class TestContext:
    async def test_a_tool_uses_its_context_as_anywhere(self, processes: ToolProcesses) -> None:
        events: list[Progress | LogRecord] = []
        context = context_of(Runtime(), events.append)
        got = await run(processes, made.use_context, context=context)
        about = ["s", "t", "r", {"who": "me"}, True, False]
        assert got == [1, {"a": (1, 2)}, "d", ["v"], True, about]
        begun, line, further = events
        assert isinstance(begun, Progress)
        assert (begun.current, begun.total, begun.message) == (1, 4, "begun")
        assert isinstance(line, LogRecord)
        assert (line.level, line.message, dict(line.fields)) == ("warning", "line", {"path": "/tmp"})
        assert isinstance(further, Progress)

    async def test_errors_are_of_the_classes_that_they_have_anywhere(self, processes: ToolProcesses) -> None:
        got = await run(processes, made.ask_for_errors, context=context_of(Runtime()))
        assert got == [
            ["NotFoundError", "no none"],
            ["ConflictError", "revision is 0"],
            ["ToolExecutionError", "fails: KeyError: k"],
        ]

    async def test_other_tools_can_be_called_and_streamed(self, processes: ToolProcesses) -> None:
        runtime = Runtime()
        got = await run(processes, made.call_others, context=context_of(runtime))
        assert got == [b"abab", [0, 1], [0, 1, 2]]
        # No value is made before it is asked for.
        assert runtime.pulled == [0, 1, 0, 1, 2]
        assert runtime.closed == 2

    async def test_a_stream_has_its_context_while_its_reader_pauses(self, processes: ToolProcesses) -> None:
        runtime = Runtime()
        runtime.variables["v"] = b"z" * MIB
        values = processes.iterate(in_process(made.stream_context), [], {}, context_of(runtime), 4)
        assert [len(value_of(value)) async for value in values] == [MIB, MIB]

    async def test_a_cancelled_call_ends_the_calls_that_its_tool_made(self, processes: ToolProcesses) -> None:
        runtime = Runtime()
        task = asyncio.create_task(run(processes, made.hang_in_a_call, context=context_of(runtime)))
        await runtime.hanging.wait()
        task.cancel()
        await asyncio.wait([task])
        assert runtime.closed == 1

    async def test_a_thread_that_outlives_its_call_is_not_taken_for_the_next_one(self, single: ToolProcesses) -> None:
        events: list[Any] = []
        runtime = Runtime()
        runtime.variables["v"] = "secret"
        await run(single, made.leave_a_thread, context=context_of(Runtime()))
        got = await run(single, made.what_the_thread_met, context=context_of(runtime, events.append))
        assert got == ["CallCancelledError"]
        assert events == []


def script(body: str) -> str:
    """Writes a program that runs a tool of its own in a process."""
    return f"""
import asyncio, os, sys
from pathlib import Path
from grpc_tool_bridge.runner.processes import ToolProcesses
from google.protobuf.any_pb2 import Any
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.values.serialization import deserialize_value

@tool(executor="process")
def where() -> str:
    return __name__

@tool(executor="process")
def hang(note: Path) -> None:
    note.write_text(str(os.getpid()))
    while True:
        pass

async def run(tool, *args):
    processes = ToolProcesses(1, max_depth=100, max_message_bytes=1_000_000)
    try:
        result = await processes.run(tool, args, {{}}, None)
        print(deserialize_value(Any(type_url=result.type_url, value=result.value)))
    except Exception as error:
        print(type(error).__name__, error)
    await processes.aclose()

{body}
"""


GUARDED = script('if __name__ == "__main__":\n    asyncio.run(run(where))')
UNGUARDED = script("asyncio.run(run(where))")
HANGING = script('if __name__ == "__main__":\n    asyncio.run(run(hang, Path(sys.argv[1])))')


def started(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


class TestWhereFunctionsAre:
    async def test_a_function_of_the_program_itself_is_found(self, tmp_path: Path) -> None:
        # A program need not be called something.py.
        (tmp_path / "program").write_text(GUARDED)
        ran = started("program", cwd=tmp_path)
        assert (ran.stdout.strip(), ran.stderr) == ("__mp_main__", "")

    async def test_a_program_started_as_a_module_is_found_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(GUARDED)
        ran = started("-m", "program", cwd=tmp_path)
        assert (ran.stdout.strip(), ran.stderr) == ("program", "")

    async def test_a_program_that_starts_itself_on_import_is_told_so(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(UNGUARDED)
        ran = started("program.py", cwd=tmp_path)
        assert "__mp_main__ calls a tool while a process imports it" in ran.stdout
        assert ran.stdout.endswith("__mp_main__\n")

    async def test_a_function_that_was_typed_in_is_refused(self, tmp_path: Path) -> None:
        ran = started("-c", UNGUARDED, cwd=tmp_path)
        assert ran.stdout.startswith("UnavailableError where: its function was typed in")

    async def test_a_file_that_is_no_importable_module_is_found_with_what_lies_beside_it(
        self, processes: ToolProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        # The standard library has a module of that name, so that this one goes by another.
        (tmp_path / "this.py").write_text(
            "from grpc_tool_bridge import tool\nimport beside_this\n"
            "@tool(executor='process')\ndef name() -> str:\n    return __name__ + beside_this.text\n"
        )
        (tmp_path / "beside_this.py").write_text("text = '!'")
        # Now they are there, and know of another search path.
        await run(processes, made.pid)
        (name,) = load_tools([str(tmp_path / "this.py")])
        try:
            assert await run(processes, name) == "this_2!"
        finally:
            del sys.modules["this_2"], sys.modules["beside_this"]

    async def test_a_module_that_no_process_can_import_is_named(
        self, processes: ToolProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invented = types.ModuleType("invented_here")
        exec("def f() -> int: return 1", vars(invented))
        monkeypatch.setitem(sys.modules, "invented_here", invented)
        with pytest.raises(UnavailableError, match=r"f: its process cannot import invented_here .*ModuleNotFoundError"):
            await run(processes, invented.f)

    async def test_a_module_whose_import_fails_is_named_with_the_reason(
        self, processes: ToolProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "only_here.py"
        file.write_text(
            f"import os\nif os.getpid() != {os.getpid()}: raise OSError('not there')\ndef f() -> int: ...\n"
        )
        spec = importlib.util.spec_from_file_location("only_here", file)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "only_here", loaded)
        spec.loader.exec_module(loaded)
        with pytest.raises(UnavailableError, match=r"cannot import only_here \(.*only_here.py\): OSError: not there"):
            await run(processes, loaded.f)

    async def test_a_name_that_means_something_else_is_told_so(self, processes: ToolProcesses) -> None:
        with pytest.raises(UnavailableError, match=r"taken in unit\..* is not its function"):
            await run(processes, made.taken_tool, 1)


async def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(HANGING)
    note = tmp_path / "note"
    program = await asyncio.create_subprocess_exec(sys.executable, "program.py", str(note), cwd=tmp_path)
    try:
        pid = (await noted(note))[0]
    finally:
        program.kill()
        await program.wait()
    await settled(lambda: is_gone(pid))


async def test_a_process_whose_successor_cannot_be_made_is_kept_until_one_can(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    aging = ToolProcesses(1, max_depth=100, max_message_bytes=MIB, aging=AgeLimits(max_calls=1))
    monkeypatch.setattr(module, "_LOAD_SECONDS", 0.0)
    try:
        first = await run(aging, made.pid)
        await settled(lambda: "was not replaced: TimeoutError()" in caplog.text)
        monkeypatch.undo()
        assert await run(aging, made.pid) == first
        await settled(lambda: aging.replaced == 1)
        assert await run(aging, made.pid) != first
        await settled(lambda: is_gone(first))
    finally:
        await aging.aclose()
