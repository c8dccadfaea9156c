"""What an exception says below its own text."""

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError, ToolExecutionError, error_info
from grpc_tool_bridge.errors.exception_text import (
    MAX_FURTHER_CHARS,
    MAX_MEMBERS,
    MAX_NESTING,
    MAX_TEXT_CHARS,
    NO_MESSAGE,
    as_raised,
    further_text,
    own_text,
)

E = TypeVar("E", bound=BaseException)


class NoText(Exception):
    def __init__(self, raised: BaseException) -> None:
        super().__init__()
        self.raised = raised

    def __str__(self) -> str:
        raise self.raised


class NotAText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307 - that it is no text is what is tested


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("v"), "v"),
        (ValueError("two\nlines"), "two\nlines"),
        (KeyError("x"), "'x'"),
        (OSError(2, "No such file", "f.csv"), "[Errno 2] No such file: 'f.csv'"),
        (SystemExit(3), "3"),
        (ExceptionGroup("g", [ValueError("v")]), "g (1 sub-exception)"),
        (ValueError(), NO_MESSAGE),
        (ValueError(" \n"), NO_MESSAGE),
        (AssertionError(), NO_MESSAGE),
        (SystemExit(), NO_MESSAGE),
        (KeyboardInterrupt(), NO_MESSAGE),
        (NoText(KeyError()), "<no text: its __str__ raised KeyError>"),
        (NoText(KeyboardInterrupt()), "<no text: its __str__ raised KeyboardInterrupt>"),
        (NotAText(), "<no text: its __str__ raised TypeError>"),
    ],
)
def test_the_own_text_of_an_exception_is_its_str_and_never_empty(error: BaseException, text: str) -> None:
    assert own_text(error) == text


def _raised(function: Callable[[], Any]) -> BaseException:
    """The exception that ``function`` raises, with its traceback."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def _fail(error: BaseException) -> Any:
    raise error


def _from(error: E, cause: BaseException | None) -> E:
    def fail() -> None:
        raise error from cause

    _raised(fail)
    return error


def _handling(error: BaseException, handled: BaseException) -> BaseException:
    def fail() -> None:
        try:
            _fail(handled)
        except type(handled):
            _fail(error)

    return _raised(fail)


def _noted(error: E, *notes: Any) -> E:
    return _with_notes(error, list(notes))


def _with_notes(error: E, notes: Any) -> E:
    error.__notes__ = notes
    return error


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ValueError("v"), []),
        (_noted(ValueError("v"), "first", "of two\nlines"), ["note: first", "note: of two", "  lines"]),
        (_noted(ValueError("v"), 5, NoText(KeyError())), ["note: 5", "note: <no text: its __str__ raised KeyError>"]),
        (_with_notes(ValueError("v"), "no list"), []),
        (_with_notes(ValueError("v"), 5), []),
        (_from(ValueError("v"), KeyError("k")), ["caused by KeyError: 'k'"]),
        (_from(ValueError("v"), KeyError()), ["caused by KeyError"]),
        (_from(ValueError("v"), None), []),
        (
            _from(ValueError("v"), _from(_noted(KeyError("k"), "n"), OSError(2, "No such file", "f"))),
            ["caused by KeyError: 'k'", "  note: n", "  caused by FileNotFoundError: [Errno 2] No such file: 'f'"],
        ),
        (_handling(ValueError("v"), KeyError("k")), ["raised while handling KeyError: 'k'"]),
        (
            ExceptionGroup("g", [ValueError("a"), _from(ValueError("b"), KeyError("k"))]),
            ["- ValueError: a", "- ValueError: b", "  caused by KeyError: 'k'"],
        ),
        (
            _noted(BaseExceptionGroup("g", [SystemExit(3), ExceptionGroup("h", [ValueError("two\nlines")])]), "n"),
            [
                "note: n",
                "- SystemExit: 3",
                "- ExceptionGroup: h (1 sub-exception)",
                "  - ValueError: two",
                "    lines",
            ],
        ),
        (
            ExceptionGroup("g", [ToolExecutionError("add", "KeyError", "'k'")]),
            ["- ToolExecutionError: add: KeyError: 'k'"],
        ),
        (_from(ValueError("v"), _from(RuntimeError("coroutine raised StopIteration"), StopIteration("s"))),
         ["caused by StopIteration: s"]),
    ],
)  # fmt: skip
def test_below_the_text_stand_notes_members_and_what_led_to_it(error: BaseException, lines: list[str]) -> None:
    assert further_text(error) == "".join(f"\n{line}" for line in lines)


def test_what_was_being_handled_outside_of_the_tool_is_not_told() -> None:
    def tool() -> None:
        _fail(ValueError("v"))

    error: BaseException = ValueError("none")
    try:
        _fail(KeyError("of the caller"))
    except KeyError:
        error = _raised(tool)
    assert isinstance(error.__context__, KeyError)
    assert further_text(error) == ""


def test_a_remote_traceback_is_not_told_once_more() -> None:
    error = ToolExecutionError("add", "KeyError", "'k'", remote_traceback="Traceback …")
    error.add_note("tried twice")
    assert further_text(error) == "\nnote: tried twice"


def test_of_an_error_of_the_bridge_the_transport_s_own_is_not_told() -> None:
    lost = type("AioRpcError", (Exception,), {"__module__": "grpc.aio._call"})("<AioRpcError of RPC …>")
    assert further_text(_from(ToolCommunicationError("add", "UNAVAILABLE", "nobody"), lost)) == ""
    assert further_text(_from(ToolBridgeError("m"), KeyError("k"))) == "\ncaused by KeyError: 'k'"
    assert further_text(_from(ValueError("m"), lost)) == "\ncaused by AioRpcError: <AioRpcError of RPC …>"


def test_exceptions_that_lead_to_one_another_are_told_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert further_text(first) == "\ncaused by ValueError: second"


def test_what_is_told_is_bounded() -> None:
    many = further_text(ExceptionGroup("g", [ValueError(str(number)) for number in range(1_000)]))
    assert many.splitlines()[MAX_MEMBERS:] == [
        f"- ValueError: {MAX_MEMBERS - 1}",
        f"- … and {1_000 - MAX_MEMBERS} more",
    ]
    deep: Exception = ValueError("innermost")
    for number in range(1_000):
        deep = ExceptionGroup(str(number), [deep])
    assert further_text(deep).count("\n") == MAX_NESTING + 1
    assert further_text(deep).endswith("- …")
    long = further_text(_from(ValueError("v"), ValueError("x" * 1_000_000)))
    assert len(long) < MAX_TEXT_CHARS + 100
    wide = ExceptionGroup("g", [ValueError("x" * 1_000) for _ in range(MAX_MEMBERS)])
    wide.__notes__ = ["n" * 1_000] * MAX_MEMBERS
    assert len(further_text(wide)) <= MAX_FURTHER_CHARS + 10
    assert further_text(wide).endswith("\n…")


@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration"])
@pytest.mark.parametrize("what", ["coroutine", "generator", "async generator"])
def test_what_python_puts_in_the_place_of_the_end_of_an_iteration_is_undone(what: str, name: str) -> None:
    error: Any = {"StopIteration": StopIteration("s"), "StopAsyncIteration": StopAsyncIteration("s")}[name]

    async def coroutine() -> None:
        raise error

    def generator() -> Any:
        yield
        raise error

    async def async_generator() -> Any:
        yield
        raise error

    def run() -> None:
        if what == "coroutine":
            coroutine().send(None)
        elif what == "generator":
            list(generator())
        else:
            made = async_generator()
            for _ in range(2):
                try:
                    made.__anext__().send(None)
                except StopIteration:
                    continue

    replaced = _raised(run)
    assert as_raised(replaced) is error
    info = error_info(replaced, raised_by_tool=True)
    assert (info.type, info.message) == (name, "s")


def test_a_runtime_error_of_the_tool_s_own_stays_one() -> None:
    own = _from(RuntimeError("it went wrong"), StopIteration("s"))
    assert as_raised(own) is own
    assert error_info(own, raised_by_tool=True).message == "it went wrong\ncaused by StopIteration: s"


def test_what_leaves_the_bridge_itself_tells_nothing_of_its_causes() -> None:
    assert error_info(_from(ToolBridgeError("m"), KeyError("secret"))).message == "m"


def test_a_long_text_leaves_room_for_what_led_to_it() -> None:
    message = error_info(_from(ValueError("x" * 1_000_000), KeyError("k")), raised_by_tool=True).message
    assert message.endswith("more characters)\ncaused by KeyError: 'k'")
    assert len(message) < 16_500


def test_the_traceback_is_the_one_that_python_writes() -> None:
    error = _from(ValueError("v"), KeyError("k"))
    shown = error_info(error, raised_by_tool=True, show_traceback=True).stacktrace
    assert shown.splitlines()[-1] == traceback.format_exception(error)[-1].rstrip()
