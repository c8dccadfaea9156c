"""What a hub knows that completes a command line: its tools and their arguments, sessions, variables, calls, metrics.

A hub that is away, slow or refuses access completes nothing.
"""

import asyncio
import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.completion_line import Candidate, Line
from grpc_tool_bridge.cli.find_tool import named_spec
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.plain_words import NotPlainError, option_value

if TYPE_CHECKING:
    from grpc_tool_bridge.client.bridge import GRPCToolBridge
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec

# Seconds that the hub has to answer. Who waits for a completion waits at a prompt.
ANSWER_SECONDS = 1.0
# Beyond that, closing the connection may take so many; then the process ends.
_CLOSE_SECONDS = 0.5
# More are no help to anybody.
MAX_VALUES = 1_000


def values_of(kind: str, line: Line, incomplete: str) -> list[Candidate]:
    """Asks the hub that a command line names what a word may become.

    Args:
        kind: What the word is: ``tool``, ``tag``, ``kwarg``, ``argument``, ``hub``, ``session``, ``variable``, ``call``
            or ``metric``.
        line: The command line.
        incomplete: The beginning of the word.

    Returns:
        The values with what they mean; none if the hub does not say within ``ANSWER_SECONDS``.
    """
    read = _READERS[kind]
    end = threading.Timer(ANSWER_SECONDS + _CLOSE_SECONDS, os._exit, (0,))
    end.daemon = True
    end.start()
    try:
        return asyncio.run(_ask(read, line, incomplete))
    except Exception:  # noqa: BLE001 - whatever is wrong, nothing is completed
        return []
    finally:
        end.cancel()


async def _ask(read: Callable[..., Awaitable[list[Candidate]]], line: Line, incomplete: str) -> list[Candidate]:
    from grpc_tool_bridge.cli.connection import make_bridge

    found: list[Candidate] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS), make_bridge(_hub_of(line)) as bridge:
            found = await read(bridge, line, incomplete)
    return found[:MAX_VALUES]


def _hub_of(line: Line) -> HubOptions:
    """Returns how the command line reaches the hub."""
    known = {item.name for item in fields(HubOptions)}
    values: dict[str, Any] = {}
    for parameter in line.parameters:
        if parameter.name in known and isinstance(parameter.declared, Option):
            with contextlib.suppress(NotPlainError):
                values[parameter.name] = option_value(
                    parameter, parameter.declared, line.given.get(parameter.name) or None
                )
    return HubOptions(**values)


async def _specs(bridge: "GRPCToolBridge", line: Line) -> "list[ToolSpec]":
    """Returns the tools that the session of the command line has, or any session."""
    from grpc_tool_bridge.cli.connection import require_session

    session = line.value_of("session") if line.given.get("session") else None
    if session is not None:
        await require_session(bridge, session)
        bridge.client.created_session = False
    await bridge.initialize(session, connect_timeout=0)
    return [proxy.spec for proxy in bridge.tools.values()]


async def _tools(bridge: "GRPCToolBridge", line: Line, _: str) -> list[Candidate]:
    from grpc_tool_bridge.llm.tool_marks import described

    return [(spec.name, described(spec)) for spec in await _specs(bridge, line)]


async def _tags(bridge: "GRPCToolBridge", line: Line, _: str) -> list[Candidate]:
    from grpc_tool_bridge.llm.tool_marks import tags_of

    counts = Counter(tag for spec in await _specs(bridge, line) for tag in tags_of(spec))
    given = set(line.given.get("tag", ()))
    return [(tag, f"{counts[tag]} tools" if counts[tag] > 1 else "1 tool") for tag in sorted(counts.keys() - given)]


async def _kwargs(bridge: "GRPCToolBridge", line: Line, incomplete: str) -> list[Candidate]:
    spec = await _named_tool(bridge, line)
    if spec is None:
        return []
    name, equals, _ = incomplete.partition("=")
    if equals:
        return [(f"{name}={value}", "") for value in _choices(spec, name)]
    from grpc_tool_bridge.tools.argument_kinds import KEYWORD_ONLY, POSITIONAL_OR_KEYWORD, kind_of

    given = {str(pair).partition("=")[0] for pair in line.given.get("kwarg", ())}
    given.update(item.name for item in _positional(spec)[: max(len(line.arguments) - 1, 0)])
    named = [item for item in spec.arguments if kind_of(item) in (POSITIONAL_OR_KEYWORD, KEYWORD_ONLY)]
    return [(f"{item.name}=", item.description or item.python_type) for item in named if item.name not in given]


async def _arguments(bridge: "GRPCToolBridge", line: Line, _: str) -> list[Candidate]:
    spec = await _named_tool(bridge, line)
    positional = [] if spec is None else _positional(spec)
    place = len(line.arguments) - 1
    if spec is None or not 0 <= place < len(positional):
        return []
    item = positional[place]
    return [(value, item.description or item.name) for value in _choices(spec, item.name)]


def _positional(spec: "ToolSpec") -> "list[ArgumentSpec]":
    """Lists the arguments that words fill, in order."""
    from grpc_tool_bridge.tools.argument_kinds import POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD, kind_of

    return [item for item in spec.arguments if kind_of(item) in (POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD)]


async def _named_tool(bridge: "GRPCToolBridge", line: Line) -> "ToolSpec | None":
    name = line.value_of("tool")
    if name is None:
        return None
    await _specs(bridge, line)
    return named_spec(bridge, name)


def _choices(spec: "ToolSpec", name: str) -> list[str]:
    """Lists the values of an argument that takes only some."""
    from grpc_tool_bridge.llm.tool_args import tool_args

    return list(dict.fromkeys(_texts(tool_args(spec).get(name), 0)))


def _texts(schema: Any, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict) or depth > 4:  # noqa: PLR2004 - deeper than anybody writes them
        return
    if schema.get("type") == "boolean":
        yield from ("true", "false")
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if isinstance(values, list):
        yield from (value if isinstance(value, str) else json.dumps(value) for value in values)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            for choice in schema[key]:
                yield from _texts(choice, depth + 1)


async def _sessions(bridge: "GRPCToolBridge", _: Line, incomplete: str) -> list[Candidate]:
    found: list[Candidate] = []
    async with contextlib.aclosing(bridge.admin.sessions(on_missing=lambda _: None)) as sessions:
        async for session in sessions:
            if session.session_id.startswith(incomplete):
                found.append((session.session_id, f"{session.variable_count} variables"))
                if len(found) == MAX_VALUES:
                    break
    return found


async def _hubs(bridge: "GRPCToolBridge", _: Line, __: str) -> list[Candidate]:
    return [(hub.name, f"{hub.state}, {hub.address}") for hub in await bridge.admin.hubs(on_missing=lambda _: None)]


async def _variables(bridge: "GRPCToolBridge", line: Line, incomplete: str) -> list[Candidate]:
    if line.value_of("session") is None:
        return []
    await _specs(bridge, line)
    return [(info.name, "") for info in await bridge.session_context.list_variables(incomplete)]


async def _calls(bridge: "GRPCToolBridge", _: Line, __: str) -> list[Candidate]:
    async with contextlib.aclosing(bridge.admin.calls(on_missing=lambda _: None)) as calls:
        return [(call.call_id, f"{call.tool_id} of {call.session_id}") async for call in calls]


async def _metrics(bridge: "GRPCToolBridge", _: Line, incomplete: str) -> list[Candidate]:
    found = sorted(await bridge.client.get_metrics(f"{incomplete}*"))
    return [(name, "") for name in islice(found, MAX_VALUES)]


_READERS: dict[str, Callable[..., Awaitable[list[Candidate]]]] = {
    "tool": _tools,
    "tag": _tags,
    "kwarg": _kwargs,
    "argument": _arguments,
    "hub": _hubs,
    "session": _sessions,
    "variable": _variables,
    "call": _calls,
    "metric": _metrics,
}
