"""What the peer for Python does at a hub: a client and a worker, in an event loop of their own thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from conformance.descriptions import describe, realize
from grpc_tool_bridge import GRPCToolBridge, Settings, ToolContext, ToolWorker
from grpc_tool_bridge.errors import CallCancelledError, ProtocolError, ToolExecutionError

Request = dict[str, Any]


class PythonSessions:
    """One client and one worker."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._bridge: GRPCToolBridge | None = None
        self._worker: ToolWorker | None = None
        self._calls: dict[str, asyncio.Task[Any]] = {}
        self._updates: Any = None

    def act(self, request: Request) -> Request:
        """Does what a request asks for, and waits for it."""
        return asyncio.run_coroutine_threadsafe(_ACTIONS[request["do"]](self, request), self._loop).result()

    @property
    def bridge(self) -> GRPCToolBridge:
        """The client."""
        if self._bridge is None:
            raise ProtocolError("connect first")
        return self._bridge

    async def _connect(self, request: Request) -> Request:
        self._bridge = GRPCToolBridge(request["address"], token=request.get("token"))
        tools = await self._bridge.initialize(request["session_id"])
        return {"session_id": self._bridge.session_id, "tools": [*tools]}

    async def _connect_with_token(self, request: Request) -> Request:
        return await self._connect(request)

    async def _call(self, request: Request) -> Request:
        return {"meaning": describe(await self._execute(request))}

    async def _call_with_events(self, request: Request) -> Request:
        progress: list[Request] = []
        logs: list[Request] = []
        tool = self.bridge.client.tool(request["tool"]).with_options(
            on_progress=lambda one: progress.append(
                {"current": one.current, "total": one.total, "message": one.message}
            ),
            on_log=lambda one: logs.append({"level": one.level, "message": one.message, "fields": {**one.fields}}),
        )
        args, kwargs = _arguments(request)
        return {"meaning": describe(await tool(*args, **kwargs)), "progress": progress, "logs": logs}

    async def _batch(self, request: Request) -> Request:
        calls = [(item["tool"], *_arguments(item)) for item in request["items"]]
        results = await self.bridge.execute_batch(
            [{"tool_id": tool, "args": args, "kwargs": kwargs} for tool, args, kwargs in calls]
        )
        return {
            "items": [
                {"error": {"type": result.error_type}}
                if isinstance(result, ToolExecutionError)
                else {"meaning": describe(result)}
                for result in results
            ]
        }

    async def _list_variables(self, request: Request) -> Request:
        return {"names": [one.name for one in await self.bridge.session_context.list_variables(request["prefix"])]}

    def _execute(self, request: Request) -> Coroutine[Any, Any, Any]:
        tool = self.bridge.client.tool(request["tool"])
        if request.get("timeout_ms"):
            tool = tool.with_options(timeout=request["timeout_ms"] / 1_000)
        args, kwargs = _arguments(request)
        return tool(*args, **kwargs)

    async def _start(self, request: Request) -> Request:
        self._calls[request["call"]] = asyncio.create_task(self._execute(request))
        return {}

    async def _cancel(self, request: Request) -> Request:
        self._calls[request["call"]].cancel()
        return {}

    async def _wait(self, request: Request) -> Request:
        call = self._calls.pop(request["call"])
        await asyncio.wait([call])
        if call.cancelled():
            raise CallCancelledError("the call was cancelled")
        return {"meaning": describe(call.result())}

    async def _stream(self, request: Request) -> Request:
        args, kwargs = _arguments(request)
        stream = self.bridge.client.tool(request["tool"]).stream(*args, **kwargs)
        items: list[Request] = []
        async for item in stream:
            items.append(describe(item))
            if len(items) == request.get("take"):
                break
        await stream.aclose()
        return {"items": items}

    async def _set_variable(self, request: Request) -> Request:
        revision = await self.bridge.session_context.set_variable(
            request["name"], realize(request["meaning"]), expected_revision=request.get("expected_revision")
        )
        return {"revision": revision}

    async def _get_variable(self, request: Request) -> Request:
        return {"meaning": describe(await self.bridge.session_context.get_variable(request["name"]))}

    async def _delete_variable(self, request: Request) -> Request:
        await self.bridge.session_context.delete_variable(request["name"])
        return {}

    async def _watch(self, request: Request) -> Request:
        self._updates = self.bridge.session_context.watch_variables(*request["names"])
        return {}

    async def _next_update(self, _: Request) -> Request:
        change = await anext(self._updates)
        return {"name": change.name, "operation": change.operation, "meaning": describe(change.value)}

    async def _run_agent(self, request: Request) -> Request:
        agent_id = await self.bridge.create_react_agent(request["signature"])
        asked = {"agent_id": agent_id, "input": request["input"], "stream": True}
        chunks = [chunk async for chunk in self.bridge.execute_agent_streaming(asked)]
        return {"chunks": [chunk["type"] for chunk in chunks], "answer": chunks[-1]["final_answer"]}

    async def _close(self, _: Request) -> Request:
        if self._updates is not None:
            await self._updates.aclose()
        await self.bridge.close()
        return {}

    async def _serve(self, request: Request) -> Request:
        self._worker = ToolWorker(
            request["address"],
            tools=[peer_echo, peer_fail, peer_count, peer_wait, peer_nested, peer_report, peer_variable],
            worker_id=request["worker_id"],
            capacity=request["capacity"],
            settings=Settings(),
        )
        await self._worker.start()
        return {}

    async def _stop_serving(self, _: Request) -> Request:
        if self._worker is None:
            raise ProtocolError("serve first")
        await self._worker.drain()
        return {}


def _arguments(request: Request) -> tuple[list[Any], dict[str, Any]]:
    kwargs = {name: realize(meaning) for name, meaning in request.get("kwargs", {}).items()}
    return [realize(meaning) for meaning in request.get("args", [])], kwargs


def peer_echo(value: Any) -> Any:
    """Returns its argument."""
    return value


def peer_fail(message: str) -> None:
    """Fails with a ValueError."""
    raise ValueError(message)


async def peer_count(to: int) -> AsyncIterator[int]:
    """Yields the numbers below ``to``."""
    for number in range(to):
        yield number


async def peer_wait() -> None:
    """Waits until it is cancelled."""
    await asyncio.Event().wait()


async def peer_nested(value: Any, context: ToolContext) -> Any:
    """Calls the hub's ``echo``."""
    return await context.call_tool("echo", value)


def peer_report(context: ToolContext) -> str:
    """Reports progress, and writes a line to the log."""
    context.progress(1, 2, "half")
    context.log("halfway", level="warning")
    return "done"


async def peer_variable(name: str, context: ToolContext) -> Any:
    """Returns a variable of the session."""
    return await context.get_variable(name)


_ACTIONS: Mapping[str, Callable[[PythonSessions, Request], Coroutine[Any, Any, Request]]] = {
    name: getattr(PythonSessions, f"_{name}")
    for name in (
        "connect", "call", "start", "cancel", "wait", "stream", "set_variable", "get_variable", "delete_variable",
        "connect_with_token", "call_with_events", "batch", "list_variables",
        "watch", "next_update", "run_agent", "close", "serve", "stop_serving",
    )
}  # fmt: skip

SESSION_ACTIONS = frozenset(_ACTIONS)
