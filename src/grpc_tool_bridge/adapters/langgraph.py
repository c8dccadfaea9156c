"""What LangGraph adds to LangChain's tools: the stream of a run, and refused calls that its ToolNode tells the model.

LangGraph is not imported here: no run of its exists unless the program has imported it.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

from pydantic_core import PydanticCustomError
from pydantic_core import ValidationError as PydanticValidationError

from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.llm.texts import error_text
from grpc_tool_bridge.optional import missing
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress

try:
    from langchain_core.tools import ToolException
except ImportError as error:
    raise missing(error, "langchain_core", extra="langchain") from error

_ORIGIN = "origin"


class RunStream:
    """The custom stream (``stream_mode="custom"``) of the LangGraph run that calls a tool.

    Args:
        write: Writes to it, from any thread, in the context of the run.
        tool: The tool's name.
        call_id: The id of the model's tool call; None if it is called without one.
    """

    def __init__(self, write: Callable[[Any], object], tool: str, call_id: str | None) -> None:
        self._write = write
        self._head = {"tool": tool, "tool_call_id": call_id}

    def chunk(self, value: Any) -> None:
        """Writes a value that the tool has yielded."""
        self._write({"type": "tool_chunk", **self._head, "value": value})

    def progress(self, event: Progress) -> None:
        """Writes the tool's progress; ``total`` is 0 if it is not known."""
        self._write(
            {
                "type": "tool_progress",
                **self._head,
                "current": event.current,
                "total": event.total,
                "message": event.message,
            }
        )


def run_stream(tool: str, call_id: str | None) -> RunStream | None:
    """Returns the custom stream of the LangGraph run that calls a tool; None if there is none that anybody reads."""
    config: Any = sys.modules.get("langgraph.config")
    if config is None:
        return None
    try:
        writer = config.get_stream_writer()
    except (KeyError, RuntimeError):
        # No graph runs here.
        return None
    if isinstance(writer, FunctionType) and writer.__closure__ is None:
        # That of a run whose custom stream nobody reads: it has nothing to write to.
        return None
    # It finds its run in the context, which a call takes along into the bridge's event loop.
    return RunStream(writer, tool, call_id)


def refused_call(tool: str, arguments: Mapping[str, Any], error: ToolBridgeError) -> ToolException:
    """Returns the exception for a call that the bridge refused, which a model can correct.

    In a program that uses LangGraph it is a ``ToolInvocationError``: a ToolNode gives the model its text, and raises
    other exceptions unless it is told not to.
    """
    node: Any = sys.modules.get("langgraph.prebuilt.tool_node")
    kind = getattr(node, "ToolInvocationError", None)
    if kind is None:
        return ToolException(error_text(error))
    refused: ToolException = _refusal_class(kind)(tool, arguments, error)
    return refused


@cache
def _refusal_class(base: Any) -> Any:
    def begin(self: Any, tool: str, arguments: Mapping[str, Any], error: ToolBridgeError) -> None:
        base.__init__(self, tool, _problems(tool, arguments, error), dict(arguments))
        self.message = error_text(error)
        self.args = (self.message,)

    return type("RefusedCallError", (base,), {"__init__": begin, "__module__": __name__})


def _problems(tool: str, arguments: Mapping[str, Any], error: ToolBridgeError) -> PydanticValidationError:
    """Returns the same error as Pydantic has it, with a problem for each argument that the bridge named."""
    named = {name: text for name, text in error.details.items() if name != _ORIGIN} or {"": error.message}
    return PydanticValidationError.from_exception_data(
        tool,
        [
            {
                "type": PydanticCustomError("refused", "{text}", {"text": text}),
                "loc": (name,) if name else (),
                "input": arguments.get(name),
            }
            for name, text in named.items()
        ],
    )
