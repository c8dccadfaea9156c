"""Sends a tool's question to the caller of its call, and returns the answer."""

import asyncio
from typing import Protocol

from grpc_tool_bridge.errors import CallCancelledError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import Asker, cannot_answer
from grpc_tool_bridge.runner.calls import CallTool, Nested


class AskingCall(Protocol):
    """A call whose tool asks a question.

    Attributes:
        asker: Sends its questions to the caller; None: the caller cannot answer.
        nested: What its tool waits for.
        over: Whether the call has been answered.
        tool: What is called.
    """

    asker: Asker | None
    nested: set[Nested] | None
    over: bool

    @property
    def tool(self) -> CallTool:
        """What is called."""

    def hold(self, nested: Nested) -> None:
        """Registers what its tool waits for, to be cancelled when the call ends."""


class _Question:
    """A question that waits for its answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

    def answered(self, answer: Answer | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def cancel(self, cause: ToolBridgeError) -> None:
        if not self.answer.done():
            self.answer.set_exception(cause)


async def ask(call: AskingCall, question: Ask) -> Answer:
    """Asks the caller of a call, and waits for the answer, which is not checked here.

    Raises:
        UnimplementedError: The caller cannot answer, or has gone.
        ResourceExhaustedError: Too many questions of the call are waiting.
        CallCancelledError: The call is over.
    """
    if call.over:
        raise CallCancelledError(f"{call.tool.name} was cancelled or timed out, and may ask no more questions")
    if call.asker is None or not call.asker.can_ask:
        raise cannot_answer(call.tool.name)
    waiting = _Question()
    withdraw = call.asker.ask(question, waiting.answered)
    call.hold(waiting)
    try:
        answer = await waiting.answer
    finally:
        withdraw()
        if call.nested is not None:
            call.nested.discard(waiting)
    if answer is None:
        raise cannot_answer(call.tool.name)
    return answer
