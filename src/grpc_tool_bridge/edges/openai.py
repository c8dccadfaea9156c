"""The tools of a bridge for OpenAI's API, and for every API with the same messages.

Only dicts go in and out, so the ``openai`` package need not be there; its objects are taken as well.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from grpc_tool_bridge.edges.choice import Bridge, choose_tools, parameters, unknown_tools
from grpc_tool_bridge.edges.strict import is_strict
from grpc_tool_bridge.edges.texts import error_text, result_text
from grpc_tool_bridge.errors import AlreadyExistsError, ToolBridgeError, ValidationError
from grpc_tool_bridge.proxy import AsyncGRPCProxyTool

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 64


def openai_tools(bridge: Bridge, *names: str) -> list[dict[str, Any]]:
    """Writes tools as function schemas, for ``tools=`` of a chat completion.

    ``strict`` is set where the tool's schema is what strict mode takes; no schema is changed for it. What the API
    allows in no name, such as the dot of ``files.read``, becomes ``_``; ``run_openai_tool_calls`` knows it by both.

    Args:
        bridge: With a session.
        *names: Of the tools; none: all that the session has now.

    Raises:
        NotFoundError: The session has no tool of a name.
        AlreadyExistsError: Two tools would have the same name there.
        ProtocolError: There is no session yet.
    """
    chosen = choose_tools(bridge, names)
    made: dict[str, str] = {}
    for proxy in chosen:
        name = _function_name(proxy.name)
        if made.setdefault(name, proxy.name) != proxy.name:
            raise AlreadyExistsError(f"the tools {made[name]!r} and {proxy.name!r} would both be called {name!r}")
    return [_function(proxy) for proxy in chosen]


async def run_openai_tool_calls(bridge: Bridge, calls: Any) -> list[dict[str, Any]]:
    """Runs the tool calls of a model's answer at once.

    Args:
        bridge: With a session.
        calls: The answer's message, its ``tool_calls``, or a chat completion with one choice; or the ``output`` of the
            Responses API, or its response. As dicts or as objects of ``openai``.

    Returns:
        A message for each call, in their order: ``{"role": "tool", "tool_call_id", "content"}``, or of the Responses
        API ``{"type": "function_call_output", "call_id", "output"}``. The content is the result, as text or JSON; of a
        call that failed, JSON with the error's type, message and details, as ``{"error": {…}}``.

    Raises:
        ValidationError: ``calls`` is nothing of these.
    """
    items = [_Call(item) for item in _items(calls)]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_run(bridge, item)) for item in items]
    return [item.message(task.result()) for item, task in zip(items, running, strict=True)]


class _Call:
    """A call of either API."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        self._of_responses = item.get("type") == "function_call"
        of_function = item if self._of_responses else _plain(item.get("function") or {})
        self.id = str(item.get("call_id" if self._of_responses else "id") or "")
        self.name = str(of_function.get("name") or "")
        self._arguments = of_function.get("arguments")

    def arguments(self) -> dict[str, Any]:
        """Reads the arguments.

        Raises:
            ValidationError: They are no JSON, or no object.
        """
        try:
            read = json.loads(self._arguments or "{}") if not isinstance(self._arguments, Mapping) else self._arguments
        except (ValueError, TypeError, RecursionError) as error:
            raise self._refusal(f"are not valid JSON ({error})") from None
        if not isinstance(read, Mapping):
            raise self._refusal(f"are {type(read).__name__}, no object")
        return dict(read)

    def message(self, content: str) -> dict[str, Any]:
        """Makes the message that answers the call."""
        if self._of_responses:
            return {"type": "function_call_output", "call_id": self.id, "output": content}
        return {"role": "tool", "tool_call_id": self.id, "content": content}

    def _refusal(self, problem: str) -> ValidationError:
        text = f"{self.name}: the arguments {problem}; give one JSON object with the arguments by name"
        return ValidationError(text, details={"arguments": problem})


async def _run(bridge: Bridge, call: _Call) -> str:
    try:
        proxy = _find(bridge, call.name)
        return result_text(await proxy(**call.arguments()))
    except ToolBridgeError as error:
        return error_text(error)


def _find(bridge: Bridge, name: str) -> AsyncGRPCProxyTool:
    if name in bridge.tools:
        return bridge.tools[name]
    meant = [tool for tool in bridge.tools if _function_name(tool) == name]
    if len(meant) != 1:
        raise unknown_tools([name], bridge.tools)
    return bridge.tools[meant[0]]


def _function(proxy: AsyncGRPCProxyTool) -> dict[str, Any]:
    schema = parameters(proxy.spec)
    function = {
        "name": _function_name(proxy.name),
        "description": proxy.spec.description,
        "parameters": schema,
        "strict": is_strict(schema),
    }
    return {"type": "function", "function": function}


def _function_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME_CHARS]


def _items(calls: Any) -> list[Mapping[str, Any]]:
    """Finds the calls in what holds them; what else a response has, such as reasoning, is left out."""
    if isinstance(calls, list | tuple):
        items = [_plain(item) for item in calls]
        return [item for item in items if item.get("type") in (None, "function", "custom", "function_call")]
    holder = _plain(calls)
    if holder.get("type") == "function_call" or "function" in holder:
        return [holder]
    if "choices" in holder:
        holder = _plain(_first(holder["choices"]).get("message") or {})
    for name in ("tool_calls", "output"):
        if name in holder:
            return _items(list(holder[name] or ()))
    raise ValidationError(f"{type(calls).__name__} holds no tool calls; give a message or its tool_calls")


def _first(choices: Iterable[Any]) -> Mapping[str, Any]:
    items = list(choices)
    if len(items) != 1:
        raise ValidationError(f"the completion has {len(items)} choices; give the message of one")
    return _plain(items[0])


def _plain(item: Any) -> Mapping[str, Any]:
    """Reads a dict, or one of the library's objects."""
    if isinstance(item, Mapping):
        return item
    dump = getattr(item, "model_dump", None)
    if dump is None:
        raise ValidationError(f"{type(item).__name__} is no tool call and no message; give dicts or openai's objects")
    return dict(dump())
