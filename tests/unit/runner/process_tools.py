"""Tools that the tests run in processes."""

import contextlib
import enum
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import tool


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 2


class BusyError(Exception):
    retryable = True


def pid() -> int:
    return os.getpid()


def swap(point: Point, color: Color) -> list[Any]:
    assert isinstance(point, Point)
    return [point.y, point.x, color is Color.RED]


def echo(value: Any) -> Any:
    return value


def fail(text: str) -> None:
    raise BusyError(text)


def leave(code: int) -> None:
    sys.exit(code)


def die(code: int) -> None:
    os._exit(code)


def say_and_die(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    os._exit(0)


def later(value: int) -> Any:
    async def give() -> int:
        return value

    return give()


def modules() -> list[str]:
    return sorted(sys.modules)


def nested() -> Any:
    return [nested_list(200)]


def nested_list(depth: int) -> Any:
    return [nested_list(depth - 1)] if depth else []


def hang(note: Path) -> None:
    """Says who it is and computes without end."""
    note.write_text(str(os.getpid()))
    while True:
        pass


def hang_with_a_child(note: Path) -> None:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note.write_text(f"{os.getpid()} {started.pid}")
    started.wait()


def meet(mine: Path, other: Path) -> int:
    """Ends once a second call runs at the same time."""
    mine.write_text("")
    while not other.exists():
        time.sleep(0.005)
    return os.getpid()


def count(to: int) -> Iterator[int]:
    yield from range(to)


def note_each(note: Path) -> Iterator[int]:
    """Notes its process, then yields without end, noting each value."""
    with note.open("a") as file:
        for number in range(1_000_000):
            print(os.getpid(), file=file, flush=True)
            yield number


def count_and_fail() -> Iterator[int]:
    yield 1
    raise LookupError("gone")


def big_items(size: int) -> Iterator[bytes]:
    yield b"x" * size
    yield b"y" * (size * 10)


def use_context(ctx: ToolContext) -> list[Any]:
    ctx.progress(1, 4, "begun")
    ctx.log("line", level="warning", path="/tmp")
    ctx.sync.progress(2)
    revision = ctx.sync.set_variable("v", {"a": (1, 2)})
    got = ctx.sync.get_variable("v")
    missing = ctx.sync.get_variable("none", default="d")
    names = [item.name for item in ctx.sync.list_variables()]
    ctx.sync.delete_variable("v")
    about = [
        ctx.session_id,
        ctx.tool_name,
        ctx.request_id,
        dict(ctx.metadata),
        0 < ctx.time_left() <= 60,
        ctx.cancelled,
    ]
    return [revision, got, missing, names, isinstance(ctx, ToolContext), about]


def ask_for_errors(ctx: ToolContext) -> list[Any]:
    told: list[Any] = []
    asked: list[Callable[[], Any]] = [
        lambda: ctx.sync.get_variable("none"),
        lambda: ctx.sync.set_variable("v", 1, expected_revision=9),
        lambda: ctx.sync.call_tool("fails"),
    ]
    for ask in asked:
        try:
            ask()
        except Exception as error:
            told.append([type(error).__name__, str(error)])
    return told


def call_others(ctx: ToolContext) -> list[Any]:
    first = ctx.sync.call_tool("double", b"ab", times=2)
    with contextlib.closing(ctx.sync.stream_tool("count", 1_000)) as values:
        begun = [next(values), next(values)]
    return [first, begun, list(ctx.sync.stream_tool("count", 3))]


def stream_context(ctx: ToolContext) -> Iterator[Any]:
    yield ctx.sync.get_variable("v")
    yield ctx.sync.get_variable("v")


def hang_in_a_call(ctx: ToolContext) -> None:
    ctx.sync.call_tool("hang")


left_behind: list[str] = []


def leave_a_thread(ctx: ToolContext) -> None:
    """Leaves a thread that goes on to use the context when the call is over."""

    def later() -> None:
        over.wait()
        ctx.progress(9)
        try:
            ctx.sync.get_variable("v")
        except Exception as error:
            left_behind.append(type(error).__name__)
        told.set()

    threading.Thread(target=later, daemon=True).start()


over = threading.Event()
told = threading.Event()


def what_the_thread_met(ctx: ToolContext) -> list[str]:
    over.set()
    told.wait()
    return left_behind


@tool(name="decorated", executor="process")
def decorated_function(number: int) -> int:
    return number + 1


def taken(number: int) -> int:
    return number


taken_tool = tool(executor="process")(taken)
taken = 5  # type: ignore[assignment]  # another thing under the function's name, as a mistake


def hold(size: int, note: Path) -> int:
    """Holds so many bytes until it is killed."""
    held = b"x" * size
    note.write_text(str(os.getpid()))
    threading.Event().wait()
    return len(held)


def hold_in_a_child(size: int) -> None:
    code = f"import threading; held = b'x' * {size}; threading.Event().wait()"
    subprocess.run([sys.executable, "-S", "-c", code], check=False)


def hold_and_yield(size: int) -> Iterator[int]:
    yield 1
    held = b"x" * size
    threading.Event().wait()
    yield len(held)


KEPT: list[bytes] = []


def keep(size: int) -> int:
    """Keeps so many bytes after the call, and returns its process."""
    KEPT.append(b"x" * size)
    return os.getpid()
