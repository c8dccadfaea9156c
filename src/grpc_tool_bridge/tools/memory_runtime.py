"""What a ToolContext talks to in a test of one tool: variables, tools and answers in memory."""

import functools
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.aio.portal import Portal
from grpc_tool_bridge.config.argument_checks import refuse_type
from grpc_tool_bridge.errors import (
    ConflictError,
    NotFoundError,
    ToolBridgeError,
    ToolExecutionError,
    error_from_info,
    error_info,
)
from grpc_tool_bridge.errors.near_names import did_you_mean
from grpc_tool_bridge.errors.plain_errors import is_of_bridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer as PlainAnswer
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Ask, VariableInfo, VariableMetadata
from grpc_tool_bridge.rpc.asks import cannot_answer
from grpc_tool_bridge.tools.content_schemas import read_schema
from grpc_tool_bridge.tools.questions import Question, answer_of, plain_answer
from grpc_tool_bridge.tools.results import has_items, streams
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.tools.tool_calls import RecordedCall, ToolCalls
from grpc_tool_bridge.values.offload import read_value, written
from grpc_tool_bridge.values.serialization import deserialize_value, python_type_name

Answers = Iterable[Any] | Callable[[Question], Any]


class MemoryRuntime:
    """The runtime of a context without a hub.

    Args:
        tool_name: The tool's name, for errors.
        session_id: Likewise.
        variables: The variables that there are, by name.
        tools: The tools that can be called: a dict of functions, results and exceptions by name, or functions.
        answers: Answers to the tool's questions, in order, or a function that gives them; None: nobody can answer.

    Attributes:
        run: Runs a tool with the context, for tools among ``tools``; set by the context.
        tool_calls: The calls of other tools.
        questions: The questions.
    """

    def __init__(
        self,
        tool_name: str,
        session_id: str,
        *,
        variables: Mapping[str, Any] | None = None,
        tools: Any = None,
        answers: Answers | None = None,
    ) -> None:
        self.run: Callable[..., Awaitable[Any]] | None = None
        self.tool_calls = ToolCalls()
        self.questions: list[Question] = []
        self._tool_name = tool_name
        self._session_id = session_id
        self._revision = 0
        self._given = dict(variables or {})
        self._variables: dict[str, tuple[AnyMessage, str, int]] = {}
        self._tools = _by_name(tools)
        self._answers = answers if answers is None or callable(answers) else iter(answers)

    # ------------------------------------------------------------------------------------------------ variables

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as they are now, by name."""
        held = {name: deserialize_value(value) for name, (value, _, _) in self._variables.items()}
        return {**self._given, **held}

    async def _known(self, name: str) -> tuple[AnyMessage, str, int] | None:
        """Returns a variable's value, type and revision; those that were given are written when they are needed."""
        for given in list(self._given):
            value = self._given[given]
            encoded = await written(value)
            if self._given.pop(given, None) is not None or given not in self._variables:
                self._revision += 1
                self._variables[given] = encoded, python_type_name(value), self._revision
        return self._variables.get(name)

    async def get_variable(self, name: str) -> Any:
        """Returns a copy of the value; raises NotFoundError."""
        known = await self._known(name)
        if known is None:
            raise self._missing(name)
        return await read_value(known[0])

    async def set_variable(self, name: str, value: Any, expected_revision: int | None) -> int:
        """Sets the value and returns its new revision; raises ConflictError."""
        encoded = await written(value)
        self._check_revision(name, await self._known(name), expected_revision)
        self._revision += 1
        self._variables[name] = encoded, python_type_name(value), self._revision
        return self._revision

    async def delete_variable(self, name: str, expected_revision: int | None) -> None:
        """Deletes the variable; raises NotFoundError, ConflictError."""
        known = await self._known(name)
        if known is None:
            raise self._missing(name)
        self._check_revision(name, known, expected_revision)
        self._revision += 1
        del self._variables[name]

    async def list_variables(self, prefix: str) -> list[VariableInfo]:
        """Lists the variables by name."""
        await self._known("")
        return [
            VariableInfo(
                name=name,
                type=kind,
                size_bytes=len(value.value),
                metadata=VariableMetadata(type=kind, revision=revision),
            )
            for name, (value, kind, revision) in sorted(self._variables.items())
            if name.startswith(prefix)
        ]

    def _check_revision(self, name: str, known: tuple[AnyMessage, str, int] | None, expected: int | None) -> None:
        present = known[2] if known else 0
        if expected is not None and expected != present:
            state = f"is at revision {present}" if known else "does not exist"
            raise ConflictError(
                f"variable {name!r} {state}, not at revision {expected}; read it again before you retry",
                details={"revision": str(present), "expected_revision": str(expected)},
            )

    def _missing(self, name: str) -> NotFoundError:
        text = f"session {self._session_id!r} has no variable {name!r}"
        return NotFoundError(text, error_type="VariableNotFound")

    # ------------------------------------------------------------------------------------------------- questions

    async def ask(self, question: Ask) -> PlainAnswer:
        """Answers a question; raises UnimplementedError if there are no answers, and AssertionError after the last."""
        asked = Question(question.message, read_schema(question.schema), self._tool_name)
        self.questions.append(asked)
        if self._answers is None:
            raise cannot_answer(self._tool_name)
        if callable(self._answers):
            given = self._answers(asked)
            given = await given if isinstance(given, Awaitable) else given
        else:
            given = next(self._answers, self)
            if given is self:
                count = len(self.questions)
                raise AssertionError(
                    f"{self._tool_name} asks {count} questions, and answers= has {count - 1} answers; it asks: "
                    f"{asked.message}"
                )
        if isinstance(given, BaseException):
            raise given
        return plain_answer(answer_of(given, "an answer of the test is", must="must be"))

    # ----------------------------------------------------------------------------------------------------- tools

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls a tool of the test; raises ToolExecutionError."""
        call = self._recorded(tool_id, args, kwargs)
        try:
            value = await self._value(tool_id, args, kwargs)
            if streams(value):
                value = [item async for item in _items(value)]
            call.result = value
        except Exception as error:
            call.error = _as_caught(error, tool_id)
            raise call.error from error
        finally:
            call.is_done = True
        return value

    async def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Streams a tool of the test: the values of a list or an iterator; raises ToolExecutionError."""
        call = self._recorded(tool_id, args, kwargs)
        call.result = []
        try:
            value = await self._value(tool_id, args, kwargs)
            async for item in _items(value):
                call.result.append(item)
                yield item
        except Exception as error:
            call.error = _as_caught(error, tool_id)
            raise call.error from error
        finally:
            call.is_done = True

    def _recorded(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RecordedCall:
        call = RecordedCall(tool_id, args, dict(kwargs), names=_names_of(self._tools.get(tool_id)))
        self.tool_calls.add(call)
        return call

    async def _value(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if tool_id not in self._tools:
            hint = did_you_mean(tool_id, self._tools, "give it as tools={...}")
            raise NotFoundError(f"the test has no tool {tool_id!r}{hint}", error_type="ToolNotFound")
        given = self._tools[tool_id]
        if isinstance(given, BaseException) or (isinstance(given, type) and issubclass(given, BaseException)):
            raise given
        if isinstance(given, Tool) and self.run is not None:
            return await self.run(given, *args, **kwargs)
        value = given(*args, **kwargs) if callable(given) else given
        while isinstance(value, Awaitable):
            value = await value
        return value


@functools.cache
def portal() -> Portal:
    """Returns the event loop, in a thread of its own, of contexts that are made where none runs."""
    return Portal()


def _by_name(tools: Any) -> dict[str, Any]:
    if tools is None:
        return {}
    if isinstance(tools, Mapping):
        return dict(tools)
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        refuse_type("tools", tools, "a dict of functions and results by name, or a list of functions")
    found: dict[str, Any] = {}
    for item in tools:
        if not callable(item):
            refuse_type("tools", item, "a dict of functions and results by name, or a list of functions")
        found[item.spec.name if isinstance(item, Tool) else item.__name__] = item
    return found


def _names_of(given: Any) -> list[str]:
    """Returns the names of the arguments that a function takes by position."""
    if isinstance(given, Tool):
        return [item.name for item in given.spec.arguments]
    try:
        parameters = inspect.signature(given).parameters.values() if callable(given) else ()
    except (TypeError, ValueError):
        return []
    return [item.name for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]


async def _items(value: Any) -> AsyncIterator[Any]:
    if isinstance(value, AsyncIterable):
        async for item in value:
            yield item
        return
    for item in value if has_items(value) else [value]:
        yield item


def _as_caught(error: Exception, tool_id: str) -> ToolBridgeError:
    """Returns the error that a tool gets of another: the same as over the wire."""
    if isinstance(error, ToolExecutionError):
        return error
    info = error_info(error, raised_by_tool=not is_of_bridge(error))
    return error_from_info(info, tool_id)
