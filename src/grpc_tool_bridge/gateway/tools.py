"""Tools over HTTP: what there is, calls, streams, batches."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.errors import ValidationError, error_from_info
from grpc_tool_bridge.gateway.bodies import (
    count_of,
    fields_of,
    flag_of,
    index_of,
    names_of,
    path_name,
    texts_of,
    timeout_of,
)
from grpc_tool_bridge.gateway.errors import JsonResponse, failed, headers_of, status_of
from grpc_tool_bridge.gateway.events import Event, EventStream
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.message_json import call_json, error_json, message_json, outcome_json, value_json
from grpc_tool_bridge.gateway.plain_results import plain_writer
from grpc_tool_bridge.gateway.query import query_arguments
from grpc_tool_bridge.llm.live_index import LiveIndexes
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.llm.tool_marks import checked_tags, has_tags, is_hidden, is_older_version
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT, check_search
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS
from grpc_tool_bridge.values.offload import written
from grpc_tool_bridge.values.tagged_json import to_json

# What a page of tools is asked for at most.
_PAGE = 1_000


class ToolRoutes:
    """The routes of tools.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls
        self._indexes = LiveIndexes()

    async def list_all(self, request: Request) -> Response:
        """Lists the tools that a session sees, without hidden ones: all, those with tags, or what a search finds."""
        query, prefix = request.query_params.get("search"), request.query_params.get("prefix", "")
        limit = count_of(request, "limit") or DEFAULT_LIMIT
        check_search(query or "", limit, prefix)
        if len(prefix) > MAX_NAME_CHARS:
            raise ValidationError(f"prefix has {len(prefix):,} characters; names have at most {MAX_NAME_CHARS}")
        tags = checked_tags(names_of(request, "tags"))
        if query is None:
            specs = [spec for spec in await self._specs(request, tags) if spec.name.startswith(prefix)]
        else:
            specs = await self._found(request, query, limit, prefix, tags)
        return JsonResponse({"tools": [message_json(spec) for spec in specs]})

    async def describe(self, request: Request) -> Response:
        """Describes one tool."""
        session, tool_id = await self._calls.session(request, path_name(request, "sid")), path_name(request, "tool")
        registry, sees = self._calls.hub.registry, self._calls.tool_filter(request, session)
        tool = registry.find(session, tool_id)
        if sees is not None and not sees(tool.name):
            raise registry.not_found(session, tool_id, sees)
        return JsonResponse(message_json(tool.spec))

    async def execute(self, request: Request) -> Response:
        """Calls a tool: with a body, or with arguments in the query."""
        given = fields_of(
            await self._calls.body(request), args=list, kwargs=dict, timeout_ms=int, context=dict, request_id=str
        )
        spec = await self._spec(request)
        call = pb.ToolCallRequest(
            session_id=path_name(request, "sid"),
            tool_id=path_name(request, "tool"),
            request_id=given.get("request_id") or request.scope["request_id"],
            timeout_ms=timeout_of(given),
            context=texts_of("context", given.get("context", {})),
            idempotency_key=request.headers.get("idempotency-key", ""),
        )
        await _put_arguments(call, given.get("args", []), _meant(spec, given.get("kwargs", {})))
        response = await self._calls.answer(request, self._calls.hub.execute_tool(call, self._calls.context(request)))
        if response.success:
            write = _writer(spec, lists=True) if flag_of(request, "plain") else to_json
            return JsonResponse(await call_json(response, write))
        return JsonResponse(await call_json(response), status_of(response.error), headers_of(response.error))

    async def stream(self, request: Request) -> EventStream:
        """Streams a tool: with arguments in the query (GET) or in a body (POST)."""
        spec = await self._spec(request)
        with_events, plain = _flag(request, spec, "events"), _flag(request, spec, "plain")
        if request.method == "GET":
            _check_new(request)
            taken = query_arguments(spec or pb.ToolSpec(), request.query_params, {"events", "plain", "timeout_ms"})
            given: dict[str, Any] = {"kwargs": taken}
            given["timeout_ms"] = count_of(request, "timeout_ms")
        else:
            body = await self._calls.body(request)
            given = fields_of(body, args=list, kwargs=dict, timeout_ms=int, context=dict, stream_id=str)
        call = pb.ToolStreamRequest(
            session_id=path_name(request, "sid"),
            tool_id=path_name(request, "tool"),
            stream_id=given.get("stream_id") or request.scope["request_id"],
            timeout_ms=timeout_of(given),
            context=texts_of("context", given.get("context", {})),
            config=pb.StreamConfig(include_events=with_events),
        )
        await _put_arguments(call, given.get("args", []), _meant(spec, given.get("kwargs", {})))
        chunks = self._calls.hub.stream_tool(call, self._calls.context(request))
        return self._calls.event_stream(request, _chunk_events(chunks, _writer(spec) if plain else to_json))

    async def batch(self, request: Request) -> Response:
        """Makes many calls; items that fail stand in their place."""
        given = fields_of(
            await self._calls.body(request),
            requests=list, parallel=bool, stop_on_error=bool, max_parallel=int, batch_id=str,
        )  # fmt: skip
        session_id, plain = path_name(request, "sid"), flag_of(request, "plain")
        specs: list[pb.ToolSpec | None] = []
        batch = pb.BatchToolCallRequest(session_id=session_id, batch_id=given.get("batch_id", ""))
        batch.config.parallel = given.get("parallel", True)
        batch.config.stop_on_error = given.get("stop_on_error", False)
        batch.config.max_parallel = given.get("max_parallel", 0)
        for index, item in enumerate(given.get("requests", [])):
            wanted = fields_of(item, index=int, tool_id=str, args=list, kwargs=dict)
            call = batch.items.add(index=index_of(wanted, index), tool_id=wanted.get("tool_id", ""))
            spec = await self._calls.spec_of(request, session_id, call.tool_id)
            specs.append(spec)
            await _put_arguments(call, wanted.get("args", []), _meant(spec, wanted.get("kwargs", {})))
        response = await self._calls.answer(
            request, self._calls.hub.batch_execute_tools(batch, self._calls.context(request))
        )
        if response.HasField("error"):
            return failed(response.error)
        writers = [_writer(spec, lists=True) if plain else to_json for spec in specs]
        results = [
            {"index": result.index, **await outcome_json(result, write)}
            for result, write in zip(response.results, writers, strict=True)
        ]
        return JsonResponse({"results": results, "metrics": message_json(response.metrics)})

    async def _found(
        self, request: Request, query: str, limit: int, prefix: str, tags: Collection[str]
    ) -> list[pb.ToolSpec]:
        session = await self._calls.session(request, path_name(request, "sid"))
        index = self._indexes.of(session.id)
        listed = self._calls.hub.registry.listed(session)
        sees = self._calls.tool_filter(request, session)
        await index.replace(tool.spec for tool in listed.values() if not is_older_version(tool.spec))

        def allows(spec: pb.ToolSpec) -> bool:
            return has_tags(spec, tags) and (sees is None or sees(spec.name))

        return [tool.spec for tool in await index.search(query, limit=limit, prefix=prefix, allows=allows)]

    async def _specs(self, request: Request, tags: Collection[str]) -> list[pb.ToolSpec]:
        specs: list[pb.ToolSpec] = []
        token = ""
        while True:
            asked = pb.GetSessionToolsRequest(session_id=path_name(request, "sid"), page_token=token, page_size=_PAGE)
            page = await self._calls.ask(request, "get_session_tools", asked)
            specs.extend(spec for spec in page.tools if not is_hidden(spec) and has_tags(spec, tags))
            token = page.next_page_token
            if not token:
                return specs

    async def _spec(self, request: Request) -> pb.ToolSpec | None:
        """Returns the spec of the tool; None if there is none, which the call then reports."""
        return await self._calls.spec_of(request, path_name(request, "sid"), path_name(request, "tool"))


def _check_new(request: Request) -> None:
    """Refuses to run a tool once more for a browser whose stream was cut, and which asks for it again by itself."""
    if request.headers.get("last-event-id"):
        raise ValidationError(
            "the stream of a tool cannot be resumed, and the tool would run again; start a new stream, without "
            "Last-Event-ID"
        )


async def _put_arguments(
    call: pb.ToolCallRequest | pb.ToolStreamRequest | pb.ToolCallItem, args: list[Any], kwargs: Mapping[str, Any]
) -> None:
    for value in args:
        call.args.append(await written(value))
    for name, value in kwargs.items():
        call.kwargs[name].CopyFrom(await written(value))


def _meant(spec: pb.ToolSpec | None, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reads arguments as the tool's schema says: a text may stand for bytes."""
    return kwargs if spec is None else from_json(spec, kwargs)


def _flag(request: Request, spec: pb.ToolSpec | None, name: str) -> bool:
    """Returns a flag of a stream, unless the tool has an argument of this name in the query."""
    if request.method == "GET" and spec is not None and name in tool_args(spec):
        return False
    return flag_of(request, name)


def _writer(spec: pb.ToolSpec | None, *, lists: bool = False) -> Callable[[Any], Any]:
    """Returns what writes a tool's results plainly; ``lists``: those of one that yields are lists of its values."""
    write = plain_writer("" if spec is None else spec.output_schema)
    if lists and spec is not None and spec.type == pb.ToolType.STREAMING:
        return lambda values: [write(value) for value in values] if isinstance(values, list) else to_json(values)
    return write


async def _chunk_events(
    chunks: AsyncGenerator[Any, None], write: Callable[[Any], Any] = to_json
) -> AsyncGenerator[Event, None]:
    """Reads the chunks of a tool's stream; an error before the first value is raised."""
    begun = False
    async with aclosing(chunks):
        async for chunk in chunks:
            kind = chunk.WhichOneof("content")
            if kind == "data":
                yield Event("data", await value_json(chunk.data, write), str(chunk.sequence))
            elif kind == "metadata":
                told = pb.Progress() if chunk.metadata.key == "progress" else pb.LogRecord()
                chunk.metadata.value.Unpack(told)
                yield Event(chunk.metadata.key, message_json(told), str(chunk.sequence))
            elif kind == "complete":
                yield Event("complete", message_json(chunk.complete), str(chunk.sequence))
            elif not begun:
                raise error_from_info(chunk.error)
            else:
                yield Event("error", error_json(chunk.error), str(chunk.sequence))
            begun = True
