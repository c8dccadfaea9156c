"""The tools of the hub, or those that a session sees, for a page: a line for each, and all of one."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.pages import names_of_page
from grpc_tool_bridge.core.registered_tool import RegisteredTool, tool_not_found
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.workers.backend import workers_of
from grpc_tool_bridge.errors.near_names import MAX_NAMES
from grpc_tool_bridge.gateway.bodies import count_of, name_of, names_of, path_name
from grpc_tool_bridge.gateway.errors import JsonResponse
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.message_json import message_json
from grpc_tool_bridge.gateway.tool_schemas import whole_schema
from grpc_tool_bridge.llm.tool_marks import VERSION_SIGN, checked_tags, deprecated_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES
from grpc_tool_bridge.values.offload import in_reader

# Of the first paragraph of a description.
MAX_DESCRIPTION_CHARS = 200
# Of a description, what is looked at for its first paragraph.
_LOOKED_AT_CHARS = 4 * MAX_DESCRIPTION_CHARS
# Ids of workers that are named for one tool.
MAX_WORKERS = 1_000


class ToolListRoutes:
    """The routes of tools that need no session.

    Args:
        calls: Reach the hub.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls
        self._hub: Hub = calls.hub

    async def list_all(self, request: Request) -> Response:
        """Lists the hub's tools by name, a page of them; with ``?session_id=`` those that this session sees.

        Of each it says as much as a list of tools shows, and not its schemas. ``?tags=a,b`` chooses those that have all
        of these tags; hidden tools are left out.
        """
        session = await self._session(request)
        tags = checked_tags(names_of(request, "tags"))
        by_name = self._hub.registry.listed(session, tags)
        sees = self._calls.tool_filter(request, session)
        if sees is not None:
            by_name = {name: tool for name, tool in by_name.items() if sees(tool.name)}
        names, token = names_of_page(
            list(by_name),
            # A token of one list says nothing of another.
            what=" ".join(("tools", *tags, *(() if session is None else ("of session", session.id)))),
            token=request.query_params.get("page_token", ""),
            size=count_of(request, "page_size"),
        )
        lines: list[dict[str, Any]] = []
        turns = Turns()
        for name in names:
            lines.append(_line(by_name[name]))
            if turns.due:
                await turns.give()
        return JsonResponse({"tools": lines, "next_page_token": token})

    async def describe(self, request: Request) -> Response:
        """Describes one tool of the hub, or of those that ``?session_id=`` sees: all that a form to call it needs.

        ``arguments`` and ``result`` are JSON Schemas that refer to nothing outside themselves; where a tool has no
        valid one, any object and any value.
        """
        session = await self._session(request)
        tool = self._tool(session, path_name(request, "tool"), self._calls.tool_filter(request, session))
        spec = tool.spec
        texts = spec.input_schema, spec.output_schema

        def schemas() -> tuple[Any, Any]:
            return whole_schema(texts[0]), whole_schema(texts[1])

        is_long = sum(map(len, texts)) > SLOW_BYTES
        arguments, result = await in_reader(schemas) if is_long else schemas()
        return JsonResponse(
            {
                "spec": message_json(spec),
                "arguments": arguments if isinstance(arguments, dict) else {"type": "object"},
                "result": {} if result is None else result,
                "workers": [worker.id for worker in workers_of(tool)[:MAX_WORKERS]],
            }
        )

    async def _session(self, request: Request) -> Session | None:
        """Returns the session of the query; None: none is named. Looking at it does not keep it from becoming idle."""
        session_id = name_of(request, "session_id")
        if not session_id:
            return None
        here = session_id in self._hub.store
        found = self._hub.store.peek(session_id) if here else await self._hub.find_session(session_id)
        return self._calls.checked(request, found)

    def _tool(self, session: Session | None, name: str, sees: Callable[[str], bool] | None) -> RegisteredTool:
        """Returns the tool with an id, or else with a name, if it is seen; ``sees`` is None where each is."""
        found = self._found(session, name)
        if found is not None and (sees is None or sees(found.name)):
            return found
        if session is not None:
            raise self._hub.registry.not_found(session, name, sees)
        tools = self._hub.store.tools
        ids = [tool.id for tool in tools.all() if sees is None or sees(tool.name)] if len(tools) <= MAX_NAMES else ()
        raise tool_not_found(name, "the hub", ids)

    def _found(self, session: Session | None, name: str) -> RegisteredTool | None:
        store = self._hub.store
        scopes = [store.tools] if session is None or not session.tools else [session.tools, store.tools]
        if session is not None and (seen := store.tool_of(session, name)) is not None:
            return seen
        found = next((tool for scope in scopes if (tool := scope.find(name)) is not None), None)
        found = found or next((tool for scope in scopes if (tool := scope.names.get(name)) is not None), None)
        return found.pinned if found is not None and VERSION_SIGN in name else found


def _line(tool: RegisteredTool) -> dict[str, Any]:
    spec = tool.spec
    return {
        "name": tool.name,
        "tool_id": tool.id,
        "description": first_paragraph(spec.description),
        "type": ToolType.Name(spec.type),
        "idempotent": spec.idempotent,
        "version": spec.version,
        "tags": sorted(tool.tags),
        "deprecated": deprecated_of(spec),
        "workers": len(workers_of(tool)),
        "of_hub": tool.tool is not None,
        "of_session": bool(tool.session_id),
    }


def first_paragraph(text: str) -> str:
    """Returns the first paragraph of a description as one line; a long one is cut at a word."""
    lines = text[:_LOOKED_AT_CHARS].strip().partition("\n\n")[0]
    line = " ".join(lines.split())
    if len(line) <= MAX_DESCRIPTION_CHARS:
        return line
    cut = line[: MAX_DESCRIPTION_CHARS - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"
