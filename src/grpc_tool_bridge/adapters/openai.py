"""Tools of a bridge for OpenAI's API, and for compatible APIs.

It works with dicts, so the ``openai`` package is not needed, but its objects are accepted too.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from grpc_tool_bridge.adapters.choice import AnyTool, Bridge, Choice, framework_name, parameters
from grpc_tool_bridge.adapters.metadata import CallMetadata, with_metadata
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.llm.strict import is_strict
from grpc_tool_bridge.llm.texts import error_text
from grpc_tool_bridge.llm.tool_args import read_arguments, refused_arguments
from grpc_tool_bridge.llm.tool_filter import ToolFilter, with_tags
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.values import from_json, value_text


def openai_tools(
    bridge: Bridge,
    *names: str,
    api: Literal["chat", "responses"] = "chat",
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
) -> list[dict[str, Any]]:
    """Returns tools as function schemas, for ``tools=`` of a chat completion or of a response.

    ``strict`` is set if strict mode accepts the tool's schema; schemas are never changed for it. Characters that the
    API does not allow in names, such as the dot of ``files.read``, become ``_``; ``run_openai_tool_calls`` accepts both
    names.

    Args:
        bridge: An initialized bridge.
        *names: Names of tools; default: all that the session has now, except hidden and deprecated ones and older
            versions.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        tags: Only tools that have all of these tags.
        search: Give ``search_tools`` and ``call_tool`` instead of all tools, or beside those that are named: with them
            a model finds and calls all tools that pass the filter, however many there are.
        api: "chat" for chat completions, or "responses" for the Responses API.

    Raises:
        NotFoundError: The session has no tool with one of the names, or none that passes ``tool_filter``.
        AlreadyExistsError: Two tools would have the same name in the API.
        ProtocolError: There is no session yet.
    """
    functions = [_function(proxy) for proxy in Choice(names, with_tags(tool_filter, tags), search).tools(bridge)]
    if api == "responses":
        return [{"type": "function", **function} for function in functions]
    return [{"type": "function", "function": function} for function in functions]


async def run_openai_tool_calls(
    bridge: Bridge,
    calls: Any,
    *,
    tool_filter: ToolFilter | None = None,
    tags: Iterable[str] = (),
    search: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Runs the tool calls of a model's answer concurrently.

    Args:
        bridge: An initialized bridge.
        calls: A chat message, its ``tool_calls``, or a chat completion with one choice; or a response of the Responses
            API, or its ``output``. As dicts or as objects of ``openai``.
        tool_filter: As given to ``openai_tools``: only tools that pass it are called.
        tags: Likewise.
        search: As given to ``openai_tools``: whether the model has ``search_tools`` and ``call_tool``.
        metadata: Sent with every call; a tool finds it in ``ToolContext.metadata``. None: none.

    Returns:
        A message for each call, in order: ``{"role": "tool", "tool_call_id", "content"}``, or for the Responses API
        ``{"type": "function_call_output", "call_id", "output"}``. The content is the result, as text or JSON; for a
        failed call, JSON with the error's type, message and details, as ``{"error": {…}}``.

    Raises:
        ValidationError: ``calls`` is none of these.
        ToolCommunicationError: The hub could not be reached for one of the calls; the others have ended.
    """
    choice = Choice((), with_tags(tool_filter, tags), search)
    found = CallMetadata(metadata).of()
    items = [_Call(item) for item in _items(calls)]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_run(bridge, choice, item, found)) for item in items]
    results = [task.result() for task in running]
    for result in results:
        if isinstance(result, ToolCommunicationError):
            raise result
    return [item.message(str(result)) for item, result in zip(items, results, strict=True)]


# Types of tool calls, in both APIs.
_CALLS = ("function", "custom", "function_call", "custom_tool_call")


class _Call:
    """A tool call of either API."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        self._of_responses = item.get("type") in ("function_call", "custom_tool_call")
        self._is_custom = item.get("type") in ("custom", "custom_tool_call")
        of_function = item if self._of_responses else _plain(item.get("function") or item.get("custom") or {})
        self.id = str(item.get("call_id" if self._of_responses else "id") or "")
        self.name = str(of_function.get("name") or "")
        self._arguments = of_function.get("arguments")

    def arguments(self) -> dict[str, Any]:
        """Parses the arguments.

        Raises:
            ValidationError: The arguments are not JSON, or not an object.
        """
        if self._is_custom:
            raise refused_arguments(self.name, "are text, as those of a custom tool")
        if self._arguments is not None and not isinstance(self._arguments, str | bytes | Mapping):
            raise refused_arguments(self.name, f"are not valid JSON, but {type(self._arguments).__name__}")
        return read_arguments(self.name, self._arguments)

    def message(self, content: str) -> dict[str, Any]:
        """Returns the message that answers the call."""
        if self._of_responses:
            kind = "custom_tool_call_output" if self._is_custom else "function_call_output"
            return {"type": kind, "call_id": self.id, "output": content}
        return {"role": "tool", "tool_call_id": self.id, "content": content}


async def _run(
    bridge: Bridge, choice: Choice, call: _Call, metadata: Mapping[str, str]
) -> str | ToolCommunicationError:
    """Returns the text for the model; an error that no model can do anything about as itself."""
    try:
        proxy = with_metadata(choice.find(bridge, call.name), metadata)
        return value_text(await proxy(**from_json(proxy.spec, call.arguments())))
    except ToolCommunicationError as error:
        return error
    except ToolBridgeError as error:
        return error_text(error)


def _function(proxy: AnyTool) -> dict[str, Any]:
    schema = parameters(proxy.spec)
    return {
        "name": framework_name(proxy.name),
        "description": described(proxy.spec),
        "parameters": schema,
        "strict": is_strict(schema),
    }


def _items(calls: Any) -> list[Mapping[str, Any]]:
    """Finds the tool calls; other parts of a response, such as reasoning, are skipped."""
    if isinstance(calls, Iterable) and not isinstance(calls, Mapping | str | bytes | BaseModel):
        items = [_plain(item) for item in calls]
        return [item for item in items if item.get("type") in (None, *_CALLS)]
    holder = _plain(calls)
    if holder.get("type") == "function_call" or "function" in holder:
        return [holder]
    if "choices" in holder:
        holder = _plain(_first(holder["choices"]).get("message") or {})
    if holder.get("function_call") and not holder.get("tool_calls"):
        raise ValidationError("the message has a function_call, which OpenAI has replaced; send tools=, not functions=")
    for name in ("tool_calls", "output"):
        if name in holder:
            return _items(list(holder[name] or ()))
    raise ValidationError(f"{type(calls).__name__} has no tool calls; give a message or its tool_calls")


def _first(choices: Iterable[Any]) -> Mapping[str, Any]:
    items = list(choices)
    if len(items) != 1:
        raise ValidationError(f"the completion has {len(items)} choices; give the message of one")
    return _plain(items[0])


def _plain(item: Any) -> Mapping[str, Any]:
    """Returns a dict, or the dict of one of the library's objects."""
    if isinstance(item, Mapping):
        return item
    dump = getattr(item, "model_dump", None)
    if dump is None:
        raise ValidationError(
            f"{type(item).__name__} is neither a tool call nor a message; give dicts or openai's objects"
        )
    return dict(dump())
