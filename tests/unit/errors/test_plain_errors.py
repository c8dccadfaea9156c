"""Which exceptions are put into words in an event loop."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.errors import InternalError, ToolBridgeError, ToolExecutionError, ValidationError
from grpc_tool_bridge.errors.plain_errors import is_of_bridge, is_plain


class Own(Exception):
    retryable = True


class Text(Exception):
    def __str__(self) -> str:
        return "text"


class Liar(Text):
    __module__ = "builtins"


class Fact(ToolBridgeError):
    @property
    def hint(self) -> str:
        return "no fact that is asked for"


def _with(error: BaseException, **attributes: Any) -> BaseException:
    vars(error).update(attributes)
    return error


def _from(cause: BaseException) -> BaseException:
    error = ValueError("v")
    error.__cause__ = cause
    return error


def _chain(length: int) -> BaseException:
    error: BaseException = ValueError()
    for _ in range(length):
        error = _from(error)
    return error


def _odd_file() -> BaseException:
    error = OSError(2, "no such file", "f")
    error.filename = object()
    return error


def _class(**members: Any) -> BaseException:
    made: type[BaseException] = type("Made", (Exception,), members)
    return made("v")


def _metaclass() -> BaseException:
    made: Any = type("Meta", (type,), {})("Made", (Exception,), {})
    error: BaseException = made("v")
    return error


PLAIN = [
    *(ValueError(), ValueError("v"), ValueError("v" * 10**6), ValueError("v", 1, None, 1.5), ValueError(["v"])),
    *(KeyError("k"), OSError(2, "no such file", "f"), SyntaxError("s", ("f", 1, 2, "t")), UnicodeError("u")),
    *(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "r"), SystemExit(3), asyncio.CancelledError("c"), Own("o")),
    *(ToolExecutionError("t", "E", "m", {"k": "v"}), ValidationError("m"), InternalError.new(), Fact("m")),
    *(_with(ValueError(), __notes__=["n"]), _with(ValueError(), anything=object()), _from(KeyError("k")), _chain(10)),
    ExceptionGroup("g", [ValueError("v"), KeyError("k")]),
]
NOT_PLAIN = [
    *(
        Text(),
        Liar(),
        _odd_file(),
        _metaclass(),
        ValueError(object()),
        ValueError([object()]),
        ValueError(["v" * 10**6]),
    ),
    *(_from(Text()), BaseExceptionGroup("g", [Text()]), _chain(100), ExceptionGroup("g", [ValueError()] * 100)),
    *(_with(ValueError(), __notes__=[object()]), _with(ValueError(), __notes__=5), _with(ValueError(), retryable=7)),
    *(_with(ValidationError("m"), details=object()), _with(ValidationError("m"), details={"k": object()})),
    *(
        _with(ValidationError("m"), message=object()),
        _with(ValidationError("m"), details=dict.fromkeys(map(str, range(99)), "")),
    ),
    *(_class(__notes__=property(print)), _class(retryable=property(print)), _class(__getattr__=print)),
    *(_class(__class__=property(print)), _class(__getattribute__=object.__getattribute__)),
]


@pytest.mark.parametrize("error", PLAIN, ids=[str(number) for number in range(len(PLAIN))])
def test_an_exception_without_code_of_its_own_is_plain(error: BaseException) -> None:
    assert is_plain(error)


@pytest.mark.parametrize("error", NOT_PLAIN, ids=[str(number) for number in range(len(NOT_PLAIN))])
def test_an_exception_with_code_of_its_own_or_without_end_is_not(error: BaseException) -> None:
    assert not is_plain(error)


def test_a_cycle_of_plain_exceptions_is_plain() -> None:
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert is_plain(one)


def test_only_the_bridges_own_classes_are_of_the_bridge() -> None:
    assert is_of_bridge(ValidationError("m"))
    assert not is_of_bridge(Fact("m"))
    assert not is_of_bridge(ValueError())
