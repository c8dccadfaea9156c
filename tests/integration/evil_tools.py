"""Tools that raise and return what runs code of its own wherever it is touched, from wherever a tool can run."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NoReturn

from grpc_tool_bridge import Tool, ToolBridgeError, ToolContext, ValidationError, tool

# What evil code raises; no evil exception of its own, so that it can be told by its name.
RAISED: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "ValueError": ValueError,
    "StopIteration": StopIteration,
}


# Of a SyntaxError: its line is no text.
ODD_PLACE: Any = ("q", 1, 2, 3)


class OwnBase(BaseException):
    """No Exception, and none of Python's."""


class Endless(dict):  # type: ignore[type-arg]
    """Has no end."""

    def items(self) -> Any:
        number = 0
        while True:
            number += 1
            yield f"key {number}", number


def _method(raised: type[BaseException]) -> Callable[..., NoReturn]:
    def evil(*_: Any, **__: Any) -> NoReturn:
        raise raised

    return evil


def _members(names: Iterable[str], value: Any) -> dict[str, Any]:
    return dict.fromkeys(names, value)


def _exception(name: str, base: type[BaseException] = Exception, /, **members: Any) -> BaseException:
    made: type[BaseException] = type(name, (base,), members)
    return made("said")


def _evil_text(raised: type[BaseException]) -> BaseException:
    return _exception("EvilText", __str__=_method(raised), __repr__=_method(raised))


def _evil_attributes(raised: type[BaseException]) -> BaseException:
    names = ("__class__", "__notes__", "__cause__", "__context__", "__traceback__", "args", "retryable", "message")
    return _exception("EvilAttributes", **_members(names, property(_method(raised))))


def _evil_access(raised: type[BaseException]) -> BaseException:
    return _exception("EvilAccess", __getattribute__=_method(raised))


def _evil_args(raised: type[BaseException]) -> BaseException:
    return RuntimeError(type("Evil", (), {"__str__": _method(raised), "__repr__": _method(raised)})())


def _evil_cause(raised: type[BaseException]) -> BaseException:
    error = ValueError("said")
    error.__cause__ = _evil_text(raised)
    return error


def _evil_group(raised: type[BaseException]) -> BaseException:
    return BaseExceptionGroup("said", [_evil_text(raised), ValueError("v")])


def _evil_note(raised: type[BaseException]) -> BaseException:
    error = ValueError("said")
    vars(error)["__notes__"] = [
        type("Evil", (), {"__str__": _method(raised), "__class__": property(_method(raised))})()
    ]
    return error


def _evil_comparisons(raised: type[BaseException]) -> BaseException:
    names = ("__eq__", "__hash__", "__bool__", "__len__", "__reduce__", "__setattr__", "__del__")
    return _exception("EvilComparisons", **_members(names, _method(raised)))


def _evil_metaclass(raised: type[BaseException]) -> BaseException:
    # Not its ``__subclasscheck__``: Python asks that when it raises, and it is what that raises which leaves the tool.
    names = ("__getattribute__", "__hash__", "__eq__", "__str__", "__repr__")
    meta: Any = type("Meta", (type,), dict.fromkeys(names, _method(raised)))
    made: Any = meta("EvilMetaclass", (Exception,), {})
    error: BaseException = made("said")
    return error


def _evil_facts(raised: type[BaseException]) -> BaseException:
    names = ("message", "error_type", "details", "retryable", "remote_traceback")
    members = _members(names, property(_method(raised)))
    return _exception("EvilFacts", ToolBridgeError, __init__=lambda *_: None, **members)


def _evil_detail(raised: type[BaseException]) -> BaseException:
    error = ValidationError("said")
    error.details = {"good": "detail", "evil": type("Evil", (), {"__str__": _method(raised)})()}
    return error


def _evil_text_class(raised: type[BaseException]) -> BaseException:
    names = ("__len__", "__getitem__", "strip", "isascii", "encode", "startswith", "splitlines", "__str__")
    return ValueError(type("EvilStr", (str,), dict.fromkeys(names, _method(raised)))("said"))


# Each with the class and the beginning of the text that its caller is told; {} is what the evil code raised.
WITH_CODE: dict[str, tuple[Callable[[type[BaseException]], BaseException], str, str]] = {
    "text": (_evil_text, "EvilText", "<no text: its __str__ raised {}>"),
    "attributes": (_evil_attributes, "EvilAttributes", "said"),
    "access": (_evil_access, "EvilAccess", "said"),
    "args": (_evil_args, "RuntimeError", "<no text: its __str__ raised {}>"),
    "cause": (_evil_cause, "ValueError", "said\ncaused by EvilText: <no text: its __str__ raised {}>"),
    "group": (_evil_group, "ExceptionGroup", "said (2 sub-exceptions)\n- EvilText: <no text"),
    "note": (_evil_note, "ValueError", "said\nnote: <no text: its __str__ raised {}>"),
    "comparisons": (_evil_comparisons, "EvilComparisons", "said"),
    "metaclass": (_evil_metaclass, "EvilMetaclass", "said"),
    "facts": (_evil_facts, "EvilFacts", "said"),
    "detail": (_evil_detail, "ValidationError", "said"),
    "text class": (_evil_text_class, "ValueError", "<no text: its __str__ raised {}>"),
}


def _chain(length: int) -> BaseException:
    error = ValueError("the first")
    for number in range(length):
        error, error.__cause__ = ValueError(f"number {number}"), error
    last, before = ValueError("said"), error
    last.__cause__ = before
    return last


def _cycle() -> BaseException:
    one, other = ValueError("said"), KeyError("k")
    one.__cause__, other.__cause__ = other, one
    return one


def _with(error: Any, **attributes: Any) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error  # type: ignore[no-any-return]


# Without any code of their own, and odd all the same.
WITHOUT_CODE: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "own base": (lambda: OwnBase("said"), "OwnBase", "said"),
    "SystemExit": (lambda: SystemExit("said"), "SystemExit", "said"),
    "KeyboardInterrupt": (lambda: KeyboardInterrupt("said"), "KeyboardInterrupt", "said"),
    "GeneratorExit": (lambda: GeneratorExit("said"), "GeneratorExit", "said"),
    "CancelledError": (lambda: asyncio.CancelledError("said"), "CancelledError", "said"),
    "StopIteration": (lambda: StopIteration("said"), "StopIteration", "said"),
    "syntax": (lambda: SyntaxError("said", ODD_PLACE), "SyntaxError", "said (q, line 1)"),
    "no base called": (lambda: _exception("Quiet", ToolBridgeError, __init__=lambda *_: None), "Quiet", "said"),
    "no error_type": (lambda: _with(ValidationError("said"), error_type=None), "ValidationError", "said"),
    "odd error_type": (lambda: _with(ValidationError("said"), error_type=7), "7", "said"),
    "odd message": (lambda: _with(ValidationError("x"), message=["said"]), "ValidationError", "['said']"),
    "odd details": (lambda: _with(ValidationError("said"), details={1: object}), "ValidationError", "said"),
    "text for details": (lambda: _with(ValidationError("said"), details=7), "ValidationError", "said"),
    "endless details": (lambda: _with(ValidationError("said"), details=Endless()), "ValidationError", "said"),
    "surrogate": (lambda: ValueError("said \ud800"), "ValueError", "said \\ud800"),
    "huge": (lambda: ValueError("s" * 20_000_000), "ValueError", "sss"),
    "huge in a list": (lambda: ValueError(["s" * 20_000_000]), "ValueError", "['sss"),
    "huge name": (lambda: _exception("N" * 1_000_000), "N" * 256, "said"),
    "no name": (lambda: _exception(""), "?", "said"),
    "long chain": (lambda: _chain(20_000), "ValueError", "said\ncaused by ValueError: number 19999"),
    "cycle": (_cycle, "ValueError", "said\ncaused by KeyError: 'k'"),
    "many members": (lambda: ExceptionGroup("said", [ValueError("v")] * 100_000), "ExceptionGroup", "said (100000 sub"),
    "digits": (lambda: ValueError(10**5_000), "ValueError", "<no text: its __str__ raised ValueError>"),
}


def made(what: str, raised: str) -> BaseException:
    """Makes an evil exception by its name."""
    return WITH_CODE[what][0](RAISED[raised]) if raised else WITHOUT_CODE[what][0]()


# ------------------------------------------------------------------------------------------------------------- results


def _value(base: type = object, *args: Any, **members: Any) -> Any:
    return type("Evil", (base,), members)(*args)


def _odd_metaclass(raised: type[BaseException]) -> Any:
    names = ("__getattribute__", "__hash__", "__eq__", "__instancecheck__", "__subclasscheck__", "__repr__")
    return type("Meta", (type,), dict.fromkeys(names, _method(raised)))("Evil", (), {})()


def _evil_value(*names: str) -> Callable[[type[BaseException]], Any]:
    return lambda raised: _value(**_members(names, _method(raised)))


RESULTS: dict[str, Callable[[type[BaseException]], Any]] = {
    "text": _evil_value("__str__", "__repr__"),
    "class": lambda raised: _value(__class__=property(_method(raised)), __str__=lambda _: "said"),
    "access": _evil_value("__getattribute__", "__str__"),
    "await": _evil_value("__await__"),
    "async iteration": _evil_value("__aiter__", "__anext__"),
    "iteration": _evil_value("__iter__", "__next__"),
    "sequence": _evil_value("__len__", "__getitem__", "__iter__"),
    "mapping": _evil_value("keys", "__len__", "__getitem__", "__iter__"),
    "array": _evil_value("__array__"),
    "index": _evil_value("__index__", "__int__"),
    "metaclass": _odd_metaclass,
    "inside": lambda raised: {"a": [1, _evil_value("__str__", "__class__", "__hash__")(raised)]},
}


def result_of(what: str, raised: str) -> Any:
    """Makes an evil result by its name."""
    return RESULTS[what](RAISED[raised])


# --------------------------------------------------------------------------------------------------------------- tools


@tool
async def raise_in_coroutine(what: str, raised: str = "") -> None:
    """Raises in an async function."""
    raise made(what, raised)


@tool
async def raise_later(what: str, raised: str = "") -> None:
    """Raises in an async function that has waited."""
    await asyncio.sleep(0)
    raise made(what, raised)


@tool(executor="async")
def raise_on_loop(what: str, raised: str = "") -> None:
    """Raises in a function on the event loop."""
    raise made(what, raised)


@tool
def raise_in_thread(what: str, raised: str = "") -> None:
    """Raises in a thread."""
    raise made(what, raised)


@tool(executor="process")
def raise_in_process(what: str, raised: str = "") -> None:
    """Raises in a process."""
    raise made(what, raised)


@tool
async def raise_in_async_generator(what: str, raised: str = "") -> AsyncIterator[int]:
    """Raises in an async generator."""
    yield 1
    raise made(what, raised)


@tool
def raise_in_generator(what: str, raised: str = "") -> Iterator[int]:
    """Raises in a generator in a thread."""
    yield 1
    raise made(what, raised)


@tool(executor="process")
def raise_in_generator_in_process(what: str, raised: str = "") -> Iterator[int]:
    """Raises in a generator in a process."""
    yield 1
    raise made(what, raised)


@tool
async def raise_in_called_tool(what: str, ctx: ToolContext, raised: str = "") -> None:
    """Raises in a tool that a tool calls."""
    await ctx.call_tool("raise_in_thread", what, raised)


@tool
async def give_in_coroutine(what: str, raised: str):  # type: ignore[no-untyped-def]
    """Returns an evil value in an async function."""
    return result_of(what, raised)


@tool
def give_in_thread(what: str, raised: str):  # type: ignore[no-untyped-def]
    """Returns an evil value in a thread."""
    return result_of(what, raised)


@tool(executor="process")
def give_in_process(what: str, raised: str):  # type: ignore[no-untyped-def]
    """Returns an evil value in a process."""
    return result_of(what, raised)


@tool
async def give_declared(what: str, raised: str) -> int:
    """Returns an evil value where a number is declared."""
    return result_of(what, raised)  # type: ignore[no-any-return]


@tool
def give_in_generator(what: str, raised: str) -> Iterator[Any]:
    """Yields an evil value in a thread."""
    yield result_of(what, raised)


@tool
async def give_in_async_generator(what: str, raised: str) -> AsyncIterator[Any]:
    """Yields an evil value in an async generator."""
    yield result_of(what, raised)


RAISING: list[Tool] = [
    raise_in_coroutine,
    raise_later,
    raise_on_loop,
    raise_in_thread,
    raise_in_process,
    raise_in_async_generator,
    raise_in_generator,
    raise_in_generator_in_process,
    raise_in_called_tool,
]
GIVING: list[Tool] = [
    give_in_coroutine,
    give_in_thread,
    give_in_process,
    give_declared,
    give_in_generator,
    give_in_async_generator,
]
TOOLS = [*RAISING, *GIVING]
