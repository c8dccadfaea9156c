"""A client's calls over HTTP: the stub's methods, each as the request that a program without gRPC would send.

It stands where plain RPCs and links stand, so that one suite runs over all of them.
"""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import grpc
import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from grpc_tool_bridge.errors import ToolBridgeError, error_from_info, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport.status import rpc_error
from grpc_tool_bridge.transport.stubs import Unlinked
from grpc_tool_bridge.values.serialization import MAX_DEPTH, deserialize_value
from grpc_tool_bridge.values.structs import read_struct
from grpc_tool_bridge.values.tagged_json import to_json
from support.http_events import ReadEvent, ndjson_events, sse_events
from support.message_reader import read_any, read_message

SSE, NDJSON = "text/event-stream", "application/x-ndjson"

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_READERS = {SSE: sse_events, NDJSON: ndjson_events}


def path_of(*parts: str) -> str:
    """Returns a path of names, each percent-encoded; "." and ".." too, which clients would resolve."""
    return "/".join(
        ["", *(part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="") for part in parts)]
    )


class HttpTransport(Unlinked):
    """Reaches a hub over HTTP.

    Args:
        address: Of the hub's gateway.
        accept: The form of streams.
    """

    def __init__(self, address: str, accept: str = SSE) -> None:
        self.where = address
        self._accept = accept
        self._client: httpx.AsyncClient | None = None
        self._stub: Any = None

    @property
    def stub(self) -> Any:
        """The stub; its connections are opened by its calls."""
        if self._stub is None:
            # The caller keeps the time.
            self._client = httpx.AsyncClient(base_url=f"http://{self.where}", timeout=None, limits=_LIMITS)
            self._stub = HttpStub(self._client, self._accept)
        return self._stub

    @stub.setter
    def stub(self, stub: Any) -> None:
        self._stub = stub

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client, self._stub = self._client, None, None
        if client is not None:
            await client.aclose()


class HttpStub:
    """The methods of the stub that the gateway has routes for.

    Args:
        client: Sends the requests.
        accept: The form of streams.
    """

    def __init__(self, client: httpx.AsyncClient, accept: str) -> None:
        self._client = client
        self._accept = accept

    # ------------------------------------------------------------------------------------------------------- sessions

    async def InitializeSession(self, request: pb.InitializeSessionRequest) -> pb.InitializeSessionResponse:
        config = {field.name: value for field, value in request.config.ListFields()}
        body = {"session_id": request.session_id, "metadata": dict(request.metadata), "config": config}
        answer = await self._json("POST", "/api/sessions", body)
        # The tools have a route of their own.
        return read_message(pb.InitializeSessionResponse(success=True, more_tools=True), answer)

    async def CleanupSession(self, request: pb.CleanupSessionRequest) -> pb.StatusResponse:
        query = {"force": "true"} if request.force else {}
        return await self._status("DELETE", path_of("api", "sessions", request.session_id), query)

    async def GetSessionInfo(self, request: pb.GetSessionInfoRequest) -> pb.SessionInfo:
        return read_message(pb.SessionInfo(), await self._json("GET", path_of("api", "sessions", request.session_id)))

    async def Heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        # There is none over HTTP: any request about what is in a session counts as its use.
        path = path_of("api", "sessions", request.session_id, "variables")
        return pb.HeartbeatResponse(session_valid=(await self._send("GET", f"{path}?limit=1")).is_success)

    async def GetMetrics(self, request: pb.GetMetricsRequest) -> pb.MetricsResponse:
        families = text_string_to_metric_families((await self._send("GET", "/metrics")).text)
        samples = [sample for family in families for sample in family.samples]
        found = {name: pb.MetricValue(integer_value=_metric(samples, name)) for name in request.metric_names}
        return pb.MetricsResponse(metrics=found)

    async def HealthCheck(self, _: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        ready = (await self._send("GET", "/readyz")).status_code == httpx.codes.OK
        kinds = pb.HealthCheckResponse
        return kinds(status=kinds.SERVING if ready else kinds.NOT_SERVING)

    # ---------------------------------------------------------------------------------------------------------- tools

    async def GetSessionTools(self, request: pb.GetSessionToolsRequest) -> pb.GetSessionToolsResponse:
        path = path_of("api", "sessions", request.session_id, "tools")
        return read_message(pb.GetSessionToolsResponse(), await self._json("GET", path))

    async def ExecuteTool(self, request: pb.ToolCallRequest) -> pb.ToolCallResponse:
        headers = {"X-Request-Id": request.request_id, "Idempotency-Key": request.idempotency_key}
        body = {**_arguments(request), "timeout_ms": request.timeout_ms, "context": dict(request.context)}
        path = path_of("api", "sessions", request.session_id, "tools", request.tool_id, "execute")
        answer = await self._send("POST", path, body, headers={name: text for name, text in headers.items() if text})
        response = pb.ToolCallResponse(request_id=request.request_id)
        _fill_outcome(response, _content(answer))
        return response

    async def StreamTool(self, request: pb.ToolStreamRequest) -> AsyncGenerator[pb.ToolStreamChunk, None]:
        body = {
            **_arguments(request),
            "timeout_ms": request.timeout_ms,
            "context": dict(request.context),
            "stream_id": request.stream_id,
        }
        query = {"events": "true"} if request.config.include_events else {}
        path = path_of("api", "sessions", request.session_id, "tools", request.tool_id, "stream")
        sequence = 0
        try:
            async with aclosing(self._events("POST", path, body, query)) as events:
                async for event in events:
                    assert event.id in ("", str(sequence))
                    yield _chunk(pb.ToolStreamChunk(stream_id=request.stream_id, sequence=sequence), event)
                    sequence += 1
        except ToolBridgeError as error:
            # Before the first value, an error is the response itself.
            yield pb.ToolStreamChunk(stream_id=request.stream_id, error=error_info(error))

    async def BatchExecuteTools(self, request: pb.BatchToolCallRequest) -> pb.BatchToolCallResponse:
        config = request.config
        body = {
            "batch_id": request.batch_id,
            "requests": [{"index": item.index, "tool_id": item.tool_id, **_arguments(item)} for item in request.items],
            "parallel": config.parallel,
            "stop_on_error": config.stop_on_error,
            "max_parallel": config.max_parallel,
        }
        path = path_of("api", "sessions", request.session_id, "tools", "batch")
        answer = _content(await self._send("POST", path, body))
        response = pb.BatchToolCallResponse(batch_id=request.batch_id)
        for result in answer.pop("results", []):
            _fill_outcome(response.results.add(), result)
        return read_message(response, answer)

    # ------------------------------------------------------------------------------------------------------ variables

    async def GetSessionVariable(self, request: pb.GetVariableRequest) -> pb.VariableResponse:
        answer = await self._send("GET", _variable(request))
        content = _content(answer)
        if content.get("error", {}).get("type") == "VariableNotFound":
            return pb.VariableResponse()
        _check(answer)
        metadata = read_message(pb.VariableMetadata(), content["metadata"])
        return pb.VariableResponse(exists=True, value=read_any(content["value"]), metadata=metadata)

    async def SetSessionVariable(self, request: pb.SetVariableRequest) -> pb.StatusResponse:
        metadata: dict[str, Any] = {"created_by": request.metadata.created_by, "type": request.metadata.type}
        metadata |= {"tags": dict(request.metadata.tags), "secret": request.metadata.secret}
        body = {
            "value": _value(request.value),
            "metadata": {name: value for name, value in metadata.items() if value},
            "create_if_missing": request.create_if_missing,
        }
        answer = await self._json("PUT", _variable(request), body, headers=_if_match(request))
        return pb.StatusResponse(success=True, message=str(answer["revision"]))

    async def DeleteSessionVariable(self, request: pb.DeleteVariableRequest) -> pb.StatusResponse:
        return await self._status("DELETE", _variable(request), headers=_if_match(request))

    async def ListSessionVariables(self, request: pb.ListVariablesRequest) -> pb.ListVariablesResponse:
        query = {"prefix": request.prefix, "tags": ",".join(request.tags), "limit": str(request.limit)}
        path = path_of("api", "sessions", request.session_id, "variables")
        return read_message(pb.ListVariablesResponse(), await self._json("GET", path, query=query))

    async def WatchSessionVariables(self, request: pb.WatchVariablesRequest) -> AsyncGenerator[pb.VariableUpdate, None]:
        query: dict[str, Any] = {"name": list(request.variable_names), "initial": str(request.include_initial).lower()}
        seen = f"{request.epoch}:{request.from_revision}"
        headers = {"Last-Event-ID": seen} if request.from_revision or request.epoch else {}
        path = path_of("api", "sessions", request.session_id, "variables", "watch")
        async with aclosing(self._events("GET", path, query=query, headers=headers)) as events:
            async for event in events:
                _raise(event)
                value = event.data.pop("value")
                update = read_message(pb.VariableUpdate(), event.data)
                if update.operation in ("set", "update"):
                    update.value.CopyFrom(read_any(value))
                yield update

    # --------------------------------------------------------------------------------------------------------- agents

    async def CreateReActAgent(self, request: pb.CreateReActAgentRequest) -> pb.CreateReActAgentResponse:
        config = {
            "verbose": request.config.verbose,
            "return_intermediate_steps": request.config.return_intermediate_steps,
            "llm_config": {name: _value(value) for name, value in request.config.llm_config.items()},
        }
        body = {
            "signature": request.signature,
            "tool_names": list(request.tool_names),
            "max_iters": request.max_iters,
            "config": config,
        }
        answer = await self._json("POST", path_of("api", "sessions", request.session_id, "agents"), body)
        return read_message(pb.CreateReActAgentResponse(), answer)

    async def ExecuteAgent(self, request: pb.ExecuteAgentRequest) -> AsyncGenerator[pb.AgentExecutionChunk, None]:
        session = path_of("api", "sessions", request.session_id)
        if request.agent_id and not request.from_sequence:
            body = {
                "input": read_struct(request.input.SerializeToString(), MAX_DEPTH),
                "context": {name: _value(value) for name, value in request.context.items()},
                "stream": request.stream,
                "run_id": request.run_id,
                "timeout_ms": request.timeout_ms,
            }
            path = f"{session}{path_of('agents', request.agent_id, 'execute')}"
            events = self._events("POST", path, body)
        else:
            last = request.from_sequence - 1
            headers = {"Last-Event-ID": str(last)} if last >= 0 else {}
            events = self._events("GET", f"{session}{path_of('runs', request.run_id)}", headers=headers)
        sequence = request.from_sequence
        async with aclosing(events):
            async for event in events:
                chunk = pb.AgentExecutionChunk(sequence=int(event.id) if event.id else sequence)
                sequence += 1
                chunk.run_id = event.data.pop("run_id", request.run_id)
                field = {"complete": "result"}.get(event.name, event.name)
                getattr(chunk, field).SetInParent()
                read_message(getattr(chunk, field), event.data)
                yield chunk

    async def CancelAgentRun(self, request: pb.CancelAgentRunRequest) -> pb.StatusResponse:
        return await self._status("DELETE", path_of("api", "sessions", request.session_id, "runs", request.run_id))

    # ------------------------------------------------------------------------------------------------ what goes on

    async def ListSessions(self, request: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        return read_message(pb.ListSessionsResponse(), await self._json("GET", "/api/sessions", query=_page(request)))

    async def ListHubs(self, request: pb.ListHubsRequest) -> pb.ListHubsResponse:
        return read_message(pb.ListHubsResponse(), await self._json("GET", "/api/hubs", query=_page(request)))

    async def ListOffers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        query = {**_page(request), "tool": request.tool}
        return read_message(pb.ListOffersResponse(), await self._json("GET", "/api/offers", query=query))

    async def ListWorkers(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        return read_message(pb.ListWorkersResponse(), await self._json("GET", "/api/workers", query=_page(request)))

    async def ListCalls(self, request: pb.ListCallsRequest) -> pb.ListCallsResponse:
        query = {**_page(request), "arguments": str(request.include_arguments).lower()}
        return read_message(pb.ListCallsResponse(), await self._json("GET", "/api/calls", query=query))

    async def ListRuns(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        return read_message(pb.ListRunsResponse(), await self._json("GET", "/api/runs", query=_page(request)))

    async def CancelCall(self, request: pb.CancelCallRequest) -> pb.StatusResponse:
        return await self._status(
            "DELETE", path_of("api", "calls", request.call_id), {"reason": request.reason, "hub": request.hub}
        )

    async def WatchEvents(self, request: pb.WatchEventsRequest) -> AsyncGenerator[pb.AdminEvent, None]:
        query = {"session_id": request.session_id, "kinds": ",".join(request.kinds)}
        query["arguments"] = str(request.include_arguments).lower()
        query["calls_per_second"] = str(request.calls_per_second)
        async with aclosing(self._events("GET", "/api/events", query=query)) as events:
            async for event in events:
                _raise(event)
                yield read_message(pb.AdminEvent(), event.data)

    # ------------------------------------------------------------------------------------------------------- requests

    async def _status(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> pb.StatusResponse:
        answer = await self._json(method, path, query=query, headers=headers)
        return pb.StatusResponse(success=True, message=answer["message"])

    async def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = await self._send(method, path, body, query, headers)
        _check(answer)
        return _content(answer)

    async def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return await self._client.send(self._request(method, path, body, query, headers))
        except httpx.TransportError as error:
            raise _lost(error) from error

    async def _events(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[ReadEvent, None]:
        request = self._request(method, path, body, query, {"Accept": self._accept, **(headers or {})})
        try:
            response = await self._client.send(request, stream=True)
            async with aclosing(response):
                if response.is_error:
                    await response.aread()
                    _check(response)
                async for event in _READERS[self._accept](response.aiter_lines()):
                    yield event
        except httpx.TransportError as error:
            raise _lost(error) from error

    def _request(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Request:
        sent = dict(headers or {})
        content = None
        if body is not None:
            content = json.dumps(body, allow_nan=False).encode()
            sent["Content-Type"] = "application/json"
        return self._client.build_request(method, path, content=content, params=query, headers=sent)


def _metric(samples: Iterable[Sample], name: str) -> int:
    """Finds what the hub calls ``name`` among the metrics of Prometheus, which have names of their own."""
    kind, _, rest = name.partition(".")
    labels: dict[str, str] = {}
    if name == "hub.active_calls":
        wanted = "tool_bridge_calls_in_progress"
    elif kind == "hub":
        wanted = f"tool_bridge_{rest}"
    else:
        labels["tool"], _, count = rest.rpartition(".")
        wanted = "tool_bridge_calls_total"
        labels |= {"calls": {}, "errors": {"outcome": "error"}}[count]
    found = [sample.value for sample in samples if sample.name == wanted and labels.items() <= sample.labels.items()]
    assert found or name == "hub.active_calls", f"/metrics has no {wanted}"
    return int(sum(found))


def _value(value: Any) -> Any:
    return to_json(deserialize_value(value, max_nodes=None))


def _arguments(request: Any) -> dict[str, Any]:
    kwargs = {name: deserialize_value(value, max_nodes=None) for name, value in request.kwargs.items()}
    return {"args": [_value(value) for value in request.args], "kwargs": to_json(kwargs)}


def _variable(request: Any) -> str:
    path = path_of("api", "sessions", request.session_id, "variables", request.variable_name)
    # As it is, it would be the route of watches.
    return path.removesuffix("watch") + "%77atch" if request.variable_name == "watch" else path


def _if_match(request: Any) -> dict[str, str]:
    return {"If-Match": str(request.expected_revision)} if request.HasField("expected_revision") else {}


def _page(request: Any) -> dict[str, str]:
    fields = ("page_token", "page_size", "session_id", "hub")
    return {name: str(getattr(request, name)) for name in fields if getattr(request, name, "")}


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        content: dict[str, Any] = answer.json()
    except ValueError:
        raise rpc_error(grpc.StatusCode.UNKNOWN, f"{answer.status_code}: {answer.text:.200}") from None
    return content


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        raise error_from_info(read_message(pb.ErrorInfo(), _content(answer)["error"]))


def _raise(event: ReadEvent) -> None:
    if event.name == "error":
        raise error_from_info(read_message(pb.ErrorInfo(), event.data))


def _lost(error: httpx.TransportError) -> Exception:
    return rpc_error(grpc.StatusCode.UNAVAILABLE, str(error) or type(error).__name__)


def _fill_outcome(response: Any, answer: dict[str, Any]) -> None:
    """Fills in what has come of a call; one that was refused before it was one has an error alone."""
    result = answer.pop("result", None)
    read_message(response, answer)
    if response.success:
        response.result.CopyFrom(read_any(result))


def _chunk(chunk: pb.ToolStreamChunk, event: ReadEvent) -> pb.ToolStreamChunk:
    match event.name:
        case "data":
            chunk.data.CopyFrom(read_any(event.data))
        case "progress" | "log":
            told = pb.Progress() if event.name == "progress" else pb.LogRecord()
            chunk.metadata.key = event.name
            chunk.metadata.value.Pack(read_message(told, event.data))
        case "complete":
            chunk.complete.SetInParent()
            read_message(chunk.complete, event.data)
        case _:
            read_message(chunk.error, event.data)
    return chunk
