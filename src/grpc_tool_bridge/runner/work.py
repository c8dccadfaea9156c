"""What runs for one call."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.events import EventStream
from grpc_tool_bridge.tools.binding import Request
from grpc_tool_bridge.tools.tool import Tool


class Work(NamedTuple):
    """A function to run.

    Attributes:
        call: The call that it runs for.
        tool: The function.
        request: The call's request.
        args, kwargs: Its arguments.
        emit: Takes its events; None if nobody wants them.
    """

    call: Call
    tool: Tool
    request: Request
    args: Sequence[Any]
    kwargs: dict[str, Any]
    emit: EventStream | None = None
