"""What the document says of each route that is not of one tool: its parameters, its body, its answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.core.names import NAME_PATTERN
from grpc_tool_bridge.core.notable_calls import KINDS
from grpc_tool_bridge.gateway.bodies import DEFAULT_LIMIT as DEFAULT_ROWS
from grpc_tool_bridge.gateway.bodies import MAX_COUNT, MAX_TIMEOUT_MS
from grpc_tool_bridge.gateway.bodies import MAX_LIMIT as MAX_ROWS
from grpc_tool_bridge.gateway.history import PERCENTILES, SORTS
from grpc_tool_bridge.gateway.message_schemas import MessageSchemas, Schema, or_null, reference
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT, MAX_LIMIT
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, MAX_SIGNATURE_CHARS
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS

ANY_REQUEST = frozenset({401, 403, 422, 500})
_SESSION = frozenset({404, 410})
_BODY = frozenset({408, 413, 415, 499})
_BUSY = frozenset({429, 503})
# There is no such hub; it does not answer.
_OF_HUB = frozenset({404, 503})
_CHANGE = _SESSION | _BUSY | {409}
_CALL = _CHANGE | {413, 499, 501, 504}

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
_ID: Schema = {"type": "string", "maxLength": MAX_NAME_CHARS}
# Of what keeps it.
_NAME: Schema = {**_ID, "pattern": NAME_PATTERN}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
# Of an answer.
_COUNTER: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_TIMEOUT: Schema = {
    "type": "integer", "minimum": 0, "maximum": MAX_TIMEOUT_MS, "description": "Milliseconds; 0: the default.",
}  # fmt: skip
VALUES: Schema = {"type": "array", "items": reference("Value")}
# The events of a tool's stream besides its values.
TOOL_NOTICES: dict[str, Schema] = {
    "progress": reference("Progress"),
    "log": reference("LogRecord"),
    "complete": reference("CompleteSignal"),
}
BY_NAME: Schema = {"type": "object", "additionalProperties": reference("Value")}


def object_of(properties: Mapping[str, Any], *required: str, closed: bool = True) -> Schema:
    """Returns the schema of an object; ``closed``: it has no other fields."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return {**schema, "additionalProperties": False} if closed else schema


def body_of(fields: Mapping[str, Schema], *required: str) -> Schema:
    """Returns the schema of a body; optional fields may be null."""
    return object_of({name: part if name in required else or_null(part) for name, part in fields.items()}, *required)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDoc:
    """What the document says of a route.

    Attributes:
        name: Its name for programs.
        tag: What it is about.
        parameters: Names of its parameters that are not in its path.
        body: Schema of its body; None: it takes none.
        answer: Schema of what it answers; None: it is no JSON.
        answers: Status codes of success, and what each means.
        streams: Whether it answers with events, of which ``answer`` is the schema.
        media_type: Content type of an answer that is not a stream.
        errors: Status codes of failure.
        is_open: Whether it needs no token.
    """

    name: str
    tag: str
    answer: Schema
    parameters: tuple[str, ...] = ()
    body: Schema | None = None
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "Done."})
    streams: bool = False
    media_type: str = "application/json"
    errors: frozenset[int] = frozenset()
    is_open: bool = False


PARAMETERS: Mapping[str, Schema] = {
    "session_id": {"in": "path", "schema": _NAME, "description": "The session."},
    "tool": {"in": "path", "schema": _NAME, "description": "What the tool is called by."},
    "name": {
        "in": "path", "schema": _NAME,
        "description": "The variable. One that is called `watch` is read as `%77atch`.",
    },
    "agent": {"in": "path", "schema": _NAME, "description": "The agent."},
    "run": {"in": "path", "schema": _NAME, "description": "The run."},
    "call": {"in": "path", "schema": _NAME, "description": "The call."},
    "approval": {"in": "path", "schema": _NAME, "description": "The approval."},
    "force": {"in": "query", "schema": FLAG, "description": "Ends calls in flight as well."},
    "page_token": {"in": "query", "schema": TEXT, "description": "`next_page_token` of the page before."},
    "page_size": {"in": "query", "schema": _COUNT, "description": "Entries of a page; 0: the default."},
    "search": {
        "in": "query", "schema": TEXT,
        "description": "What the tool should do, in plain words: only tools that match, the best first.",
    },
    "found": {
        "in": "query", "name": "limit",
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
        "description": f"Maximum number of tools that `search` finds; 0: {DEFAULT_LIMIT}.",
    },
    "of_hub": {
        "in": "query", "name": "hub", "schema": _ID,
        "description": "Only those of this hub of a cluster, by its name or its incarnation; default: of all hubs.",
    },
    "of_session": {"in": "query", "name": "session_id", "schema": _ID, "description": "Only those of a session."},
    "arguments": {"in": "query", "schema": FLAG, "description": "Includes the arguments of calls."},
    "calls_per_second": {
        "in": "query", "schema": _COUNT,
        "description": "A sample of about so many new calls a second, and the end of others that failed or were slow; "
        "`omitted_calls` of an event counts those that are left out. 0: all calls.",
    },
    "notable": {
        "in": "query", "name": "kind", "schema": {"type": "string", "enum": [*KINDS]},
        "description": f"The slowest calls of the last ten minutes, or the failed ones, newest first; "
        f"default: {KINDS[0]}.",
    },
    "of_tool": {"in": "query", "name": "tool", "schema": _ID, "description": "Only those of a tool or an agent."},
    "of_worker": {"in": "query", "name": "worker", "schema": _ID, "description": "Only those that a worker ran."},
    "tool_name": {"in": "query", "name": "tool", "schema": _ID, "description": "Only those of the tool of this name."},
    "call_of_hub": {
        "in": "query", "name": "hub", "schema": _ID,
        "description": "The hub of a cluster that has the call; default: any.",
    },
    "error_texts": {"in": "query", "name": "arguments", "schema": FLAG, "description": "Includes messages of errors."},
    "reason": {"in": "query", "schema": TEXT, "description": "What the caller is told."},
    "kinds": {
        "in": "query", "style": "form", "explode": False, "description": "Only these, with commas; default: all.",
        "schema": {"type": "array", "items": {"type": "string", "enum": [*EVENT_KINDS]}},
    },
    "prefix": {"in": "query", "schema": _ID, "description": "Only names that begin so."},
    "tags": {"in": "query", "schema": TEXT, "description": "Only those that have these tags, with commas."},
    "limit": {"in": "query", "schema": _COUNT, "description": "So many at most; 0: all."},
    "names": {"in": "query", "schema": TEXT, "description": "Names of variables, with commas; empty: all."},
    "one_name": {
        "in": "query", "name": "name", "schema": {"type": "array", "items": _NAME},
        "description": "Names of variables, one each time; they may have commas.",
    },
    "initial": {"in": "query", "schema": FLAG, "description": "Starts with the present values; default: true."},
    "secrets": {
        "in": "query", "schema": FLAG, "description": "Includes the values of secret variables; default: true.",
    },
    "events": {"in": "query", "schema": FLAG, "description": "Includes progress and log lines."},
    "plain": {
        "in": "query", "schema": FLAG,
        "description": "Writes results without tags where the tool's schema says what they mean.",
    },
    "timeout_ms": {"in": "query", "schema": _TIMEOUT, "description": "Milliseconds; 0: the default."},
    "If-Match": {
        "in": "header", "schema": {"type": "string", "pattern": r'^("[0-9]{1,18}"|[0-9]{1,18})$'},
        "description": "The revision that the variable must have; 0: it must not exist.",
    },
    "Last-Event-ID": {
        "in": "header", "schema": {"type": "string", "pattern": "^(.*:[0-9]{1,18})?$"},
        "description": "`id` of the last event that was seen.",
    },
    "last_chunk": {
        "in": "header", "name": "Last-Event-ID", "schema": {"type": "string", "pattern": "^[0-9]{0,9}$"},
        "description": "`id` of the last event that was seen.",
    },
    "Idempotency-Key": {
        "in": "header",
        "schema": {"type": "string", "pattern": f"^[ -~\u00a1-\u00ac\u00ae-\u00ff]{{0,{MAX_NAME_CHARS}}}$"},
        "description": "A call that is made again under the same key is answered again, and not run.",
    },
    "X-Request-Id": {
        "in": "header", "schema": {"type": "string", "pattern": f"^[ -~]{{0,{MAX_NAME_CHARS}}}$"},
        "description": "The caller's id of the request, which the response repeats; generated if missing.",
    },
    "since": {
        "in": "query", "schema": _COUNT,
        "description": "`sequence` of the last point that was seen; only later ones are returned.",
    },
    "epoch": {
        "in": "query", "schema": _ID,
        "description": "`epoch` of the answer that it was in; if it is another run's, all points are returned.",
    },
    "points_of_tool": {
        "in": "query", "name": "tool", "schema": _ID, "description": "Only what concerns this tool.",
    },
    "points_of_worker": {
        "in": "query", "name": "worker", "schema": _ID,
        "description": "Only what concerns this worker; not with `tool`.",
    },
    "sort": {
        "in": "query", "schema": {"type": "string", "enum": [*SORTS]},
        "description": "By what they are sorted, the most first, but names ascending; default: `calls`.",
    },
    "find": {"in": "query", "schema": _ID, "description": "Only names that have this part, in either case."},
    "rows": {
        "in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 0, "maximum": MAX_ROWS},
        "description": f"So many at most; 0: {DEFAULT_ROWS}.",
    },
    "seen_by": {
        "in": "query", "name": "session_id", "schema": _ID,
        "description": "Those that this session sees; default: the hub's.",
    },
    "tools_of": {
        "in": "query", "name": "session_id", "schema": TEXT,
        "description": "Describes the tools that this session sees; default: the hub's tools.",
    },
}  # fmt: skip


def _session_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    opened = object_of(
        {"session_id": TEXT, "resumed": FLAG, "tool_count": _COUNT, "capabilities": {"type": "array", "items": TEXT}},
        "session_id", "resumed", "tool_count", "capabilities",
    )  # fmt: skip
    config = schemas.accepted(pb.SessionConfig)
    return {
        "POST /api/sessions": RouteDoc(
            name="openSession", tag="sessions", errors=_BODY | _BUSY | {409, 410}, answer=opened,
            body=body_of({"session_id": _NAME, "metadata": _TEXTS, "config": config}),
            answers={201: "The session was created.", 200: "It was there."},
        ),
        "GET /api/sessions": RouteDoc(
            name="listSessions", tag="sessions", parameters=("page_token", "page_size", "of_hub"), errors=_OF_HUB,
            answer=schemas.answered(pb.ListSessionsResponse),
        ),
        "GET /api/sessions/{session_id}": RouteDoc(
            name="describeSession", tag="sessions", errors=_SESSION, answer=schemas.answered(pb.SessionInfo)
        ),
        "DELETE /api/sessions/{session_id}": RouteDoc(
            name="endSession", tag="sessions", parameters=("force",), errors=_SESSION, answer=reference("Message")
        ),
    }  # fmt: skip


def _tool_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    spec = schemas.answered(pb.ToolSpec)
    for kind in (pb.Progress, pb.LogRecord, pb.CompleteSignal):
        schemas.answered(kind)
    tools = "/api/sessions/{session_id}/tools"
    given = {"args": VALUES, "kwargs": BY_NAME, "timeout_ms": _TIMEOUT, "context": _TEXTS}
    item = body_of({"index": _COUNT, "tool_id": TEXT, "args": VALUES, "kwargs": BY_NAME})
    result = {name: part for name, part in call_answer(schemas)["properties"].items() if name != "request_id"}
    results = {"type": "array", "items": object_of({"index": _COUNT, **result}, "index", *result)}
    return {
        f"GET {tools}": RouteDoc(
            name="listTools", tag="tools", parameters=("search", "found", "prefix", "tags"), errors=_SESSION,
            answer=object_of({"tools": {"type": "array", "items": spec}}, "tools"),
        ),
        f"GET {tools}/{{tool}}": RouteDoc(name="describeTool", tag="tools", errors=_SESSION, answer=spec),
        f"POST {tools}/{{tool}}/execute": RouteDoc(
            name="callTool", tag="tools", parameters=("plain", "Idempotency-Key"), errors=_CALL | _BODY,
            body=body_of({**given, "request_id": _ID}), answer=reference("CallAnswer"),
        ),
        f"GET {tools}/{{tool}}/stream": RouteDoc(
            name="streamToolByQuery", tag="tools", parameters=("events", "plain", "timeout_ms"), errors=_CALL,
            streams=True,
            answer=events_of(data=reference("Value"), **TOOL_NOTICES),
        ),
        f"POST {tools}/{{tool}}/stream": RouteDoc(
            name="streamTool", tag="tools", parameters=("events", "plain"), errors=_CALL | _BODY, streams=True,
            body=body_of({**given, "stream_id": _NAME}),
            answer=events_of(data=reference("Value"), **TOOL_NOTICES),
        ),
        f"POST {tools}/batch": RouteDoc(
            name="callTools", tag="tools", parameters=("plain",), errors=_CALL | _BODY,
            body=body_of({
                "requests": {"type": "array", "items": item}, "parallel": FLAG, "stop_on_error": FLAG,
                "max_parallel": _COUNT, "batch_id": _ID,
            }),
            answer=object_of(
                {"results": results, "metrics": schemas.answered(pb.BatchMetrics)}, "results", "metrics"
            ),
        ),
    }  # fmt: skip


def _variable_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    variables = "/api/sessions/{session_id}/variables"
    metadata = schemas.answered(pb.VariableMetadata)
    given = schemas.accepted(pb.VariableMetadata)
    return {
        f"GET {variables}": RouteDoc(
            name="listVariables", tag="variables", parameters=("prefix", "tags", "limit"), errors=_SESSION,
            answer=schemas.answered(pb.ListVariablesResponse),
        ),
        f"GET {variables}/watch": RouteDoc(
            name="watchVariables", tag="variables", errors=_SESSION | _BUSY, streams=True,
            parameters=("names", "one_name", "initial", "secrets", "Last-Event-ID"),
            answer=events_of(data=schemas.answered(pb.VariableUpdate)),
        ),
        f"GET {variables}/{{name}}": RouteDoc(
            name="readVariable", tag="variables", errors=_SESSION,
            answer=object_of({"value": reference("Value"), "metadata": metadata}, "value", "metadata"),
        ),
        f"PUT {variables}/{{name}}": RouteDoc(
            name="writeVariable", tag="variables", parameters=("If-Match",), errors=_CHANGE | _BODY,
            body=body_of({"value": reference("Value"), "metadata": given, "create_if_missing": FLAG}, "value"),
            answer=object_of({"revision": {"type": "integer", "minimum": 0}}, "revision"),
        ),
        f"DELETE {variables}/{{name}}": RouteDoc(
            name="deleteVariable", tag="variables", parameters=("If-Match",), errors=_CHANGE,
            answer=reference("Message"),
        ),
    }  # fmt: skip


def _agent_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    session = "/api/sessions/{session_id}"
    names = {"type": "array", "items": TEXT}
    config = body_of({"verbose": FLAG, "return_intermediate_steps": FLAG, "llm_config": BY_NAME})
    made = {"agent_id": TEXT, "tool_count": _COUNT, "capabilities": names}
    run = events_of(
        thought=schemas.answered(pb.ThoughtChunk),
        action=schemas.answered(pb.ActionChunk),
        observation=schemas.answered(pb.ObservationChunk),
        complete=schemas.answered(pb.ResultChunk),
    )
    return {
        f"POST {session}/agents": RouteDoc(
            name="createAgent", tag="agents", errors=_CALL | _BODY, answers={201: "The agent was created."},
            body=body_of({
                "signature": {"type": "string", "maxLength": MAX_SIGNATURE_CHARS}, "tool_names": names,
                "max_iters": _COUNT, "config": config,
            }),
            answer=object_of(made, *made),
        ),
        f"POST {session}/agents/{{agent}}/execute": RouteDoc(
            name="runAgent", tag="agents", errors=_CALL | _BODY, streams=True, answer=run,
            body=body_of({
                "input": {"type": "object"}, "context": BY_NAME, "stream": FLAG, "run_id": _NAME,
                "timeout_ms": _TIMEOUT,
            }),
        ),
        f"GET {session}/runs/{{run}}": RouteDoc(
            name="attachToRun", tag="agents", parameters=("last_chunk",), errors=_CALL, streams=True, answer=run
        ),
        f"DELETE {session}/runs/{{run}}": RouteDoc(
            name="cancelRun", tag="agents", errors=_CALL, answer=reference("Message")
        ),
    }  # fmt: skip


def _approval_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    return {
        "GET /api/approvals": RouteDoc(
            name="listApprovals", tag="operations", parameters=("page_token", "page_size", "of_hub", "arguments"),
            errors=_OF_HUB, answer=schemas.answered(pb.ListApprovalsResponse),
        ),
        "POST /api/approvals/{approval}": RouteDoc(
            name="decideApproval", tag="operations", errors=_BODY | _OF_HUB | {409}, answer=reference("Message"),
            body=body_of({"digest": TEXT, "grant": FLAG, "reason": TEXT, "hub": _ID}, "digest", "grant"),
        ),
    }  # fmt: skip


def _operation_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    pages = ("page_token", "page_size")
    status = object_of({"status": TEXT}, "status")
    return {
        "GET /api/hubs": RouteDoc(
            name="listHubs", tag="operations", parameters=("of_hub",), errors=_OF_HUB,
            answer=schemas.answered(pb.ListHubsResponse),
        ),
        "GET /api/offers": RouteDoc(
            name="listOffers", tag="operations", parameters=(*pages, "of_hub", "tool_name"), errors=_OF_HUB,
            answer=schemas.answered(pb.ListOffersResponse),
        ),
        "GET /api/workers": RouteDoc(
            name="listWorkers", tag="operations", parameters=(*pages, "of_hub"), errors=_OF_HUB,
            answer=schemas.answered(pb.ListWorkersResponse),
        ),
        "GET /api/calls": RouteDoc(
            name="listCalls", tag="operations", parameters=(*pages, "of_session", "of_hub", "arguments"),
            errors=_SESSION | _OF_HUB, answer=schemas.answered(pb.ListCallsResponse),
        ),
        "GET /api/history/calls": RouteDoc(
            name="listNotableCalls", tag="operations",
            parameters=("notable", "of_tool", "of_worker", "of_session", "rows", "error_texts"),
            answer=object_of({"calls": {"type": "array", "items": schemas.answered(pb.CallInfo)}}, "calls"),
        ),
        "DELETE /api/calls/{call}": RouteDoc(
            name="cancelCall", tag="operations", parameters=("reason", "call_of_hub"), errors=_OF_HUB,
            answer=reference("Message"),
        ),
        "GET /api/runs": RouteDoc(
            name="listRuns", tag="operations", parameters=(*pages, "of_session", "of_hub"),
            errors=_SESSION | _OF_HUB | {501},
            answer=schemas.answered(pb.ListRunsResponse),
        ),
        "GET /api/events": RouteDoc(
            name="watchEvents", tag="operations", streams=True, errors=_SESSION | _BUSY,
            parameters=("kinds", "of_session", "arguments", "calls_per_second"),
            answer=events_of(data=schemas.answered(pb.AdminEvent)),
        ),
        "POST /api/login": RouteDoc(
            name="logIn", tag="access", errors=_BODY, body=body_of({"token": TEXT}), answer=status, is_open=True
        ),
        "POST /api/logout": RouteDoc(name="logOut", tag="access", answer=status, is_open=True),
        "GET /healthz": RouteDoc(name="isAlive", tag="operations", answer=status, is_open=True),
        "GET /readyz": RouteDoc(
            name="isReady", tag="operations", is_open=True,
            answer=object_of({"status": TEXT, "reason": TEXT}, "status"),
            answers={200: "The hub serves.", 503: "It does not: it drains, or its store cannot be written."},
        ),
        "GET /metrics": RouteDoc(name="readMetrics", tag="operations", answer=TEXT, media_type="text/plain"),
        "GET /openapi.json": RouteDoc(
            name="document", tag="documentation", parameters=("tools_of",), errors=_SESSION, answer={"type": "object"}
        ),
        "GET /docs": RouteDoc(
            name="documentPage", tag="documentation", parameters=("tools_of",), answer=TEXT, media_type="text/html"
        ),
        "GET /": RouteDoc(name="dashboardPage", tag="documentation", answer=TEXT, media_type="text/html"),
    }  # fmt: skip


def _history_docs() -> dict[str, RouteDoc]:
    number: Schema = {"type": "number", "minimum": 0}
    counts: dict[str, Schema] = {
        **dict.fromkeys(("calls", "errors", "active"), _COUNTER),
        **{f"{name}_ms": or_null(number) for name in PERCENTILES},
    }
    total = object_of(counts, *counts)
    row = object_of({"name": TEXT, **counts}, "name", *counts)
    point = object_of({"sequence": _COUNTER, "at": _MOMENT, **counts}, "sequence", "at", *counts)

    def table(name: str, what: str) -> RouteDoc:
        answer = {"seconds": number, "total": total, "count": _COUNTER, what: {"type": "array", "items": row}}
        return RouteDoc(
            name=name,
            tag="operations",
            parameters=("sort", "rows", "prefix", "find"),
            answer=object_of(answer, *answer),
        )

    points = {"interval_ms": _COUNTER, "epoch": TEXT, "points": {"type": "array", "items": point}}
    return {
        "GET /api/history": RouteDoc(
            name="readHistory", tag="operations", parameters=("since", "epoch", "points_of_tool", "points_of_worker"),
            answer=object_of(points, *points),
        ),
        "GET /api/history/tools": table("listToolHistory", "tools"),
        "GET /api/history/workers": table("listWorkerHistory", "workers"),
    }  # fmt: skip


def _hub_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    pages = ("page_token", "page_size")
    names = {"type": "array", "items": TEXT}
    hub = {
        **dict.fromkeys(("name", "version", "epoch", "python", "address", "store_failure"), TEXT),
        **dict.fromkeys(("serving", "needs_token", "injects_faults", "durable"), FLAG),
        "uptime_seconds": {"type": "number", "minimum": 0},
        **dict.fromkeys(("sessions", "tools", "workers", "connections"), _COUNTER),
        **dict.fromkeys(("active_calls", "agent_runs", "event_watches"), _COUNTER),
    }
    limit = {
        **dict.fromkeys(("name", "title", "of"), TEXT),
        **dict.fromkeys(("used", "limit", "waiting"), _COUNTER),
        "unit": {"enum": ["", "bytes", "per minute"]},
        "kind": {"enum": ["hub", "session", "tool", "worker"]},
    }
    tool = {
        **dict.fromkeys(("name", "tool_id", "description", "version", "deprecated"), TEXT),
        "type": {"enum": pb.ToolType.keys()},
        "tags": names,
        "workers": _COUNTER,
        **dict.fromkeys(("idempotent", "of_hub", "of_session"), FLAG),
    }
    whole = {
        "spec": schemas.answered(pb.ToolSpec), "arguments": {"type": "object"}, "result": {}, "workers": names,
    }  # fmt: skip
    agent = {
        **dict.fromkeys(("agent_id", "session_id", "signature"), TEXT),
        "tools": names,
        **dict.fromkeys(("tool_count", "max_iters", "runs"), _COUNTER),
    }
    return {
        "GET /api/hub": RouteDoc(name="readHub", tag="operations", answer=object_of(hub, *hub)),
        "GET /api/limits": RouteDoc(name="readLimits", tag="operations", answer=_list_of("limits", limit)),
        "GET /api/tools": RouteDoc(
            name="listAllTools", tag="tools", parameters=("seen_by", "tags", *pages), errors=_SESSION,
            answer=_list_of("tools", tool, paged=True),
        ),
        "GET /api/tools/{tool}": RouteDoc(
            name="describeAnyTool", tag="tools", parameters=("seen_by",), errors=_SESSION,
            answer=object_of(whole, *whole),
        ),
        "GET /api/agents": RouteDoc(
            name="listAgents", tag="agents", parameters=(*pages, "of_session"), errors=_SESSION,
            answer=_list_of("agents", agent, paged=True),
        ),
    }  # fmt: skip


def _list_of(name: str, entry: Mapping[str, Schema], *, paged: bool = False) -> Schema:
    fields: dict[str, Schema] = {name: {"type": "array", "items": object_of(entry, *entry)}}
    if paged:
        fields["next_page_token"] = TEXT
    return object_of(fields, *fields)


def route_docs(schemas: MessageSchemas) -> dict[str, RouteDoc]:
    """Returns the documentation of each route, by its method and path.

    Args:
        schemas: Takes the schemas of the messages that they refer to.
    """
    return {
        **_session_docs(schemas),
        **_tool_docs(schemas),
        **_variable_docs(schemas),
        **_agent_docs(schemas),
        **_operation_docs(schemas),
        **_approval_docs(schemas),
        **_history_docs(),
        **_hub_docs(schemas),
    }


def call_answer(schemas: MessageSchemas) -> Schema:
    """Returns the schema of the answer to a call, which always has the same five fields."""
    error = or_null(schemas.answered(pb.ErrorInfo))
    metrics = schemas.answered(pb.ExecutionMetrics)
    answer = {"success": FLAG, "result": reference("Value"), "error": error, "metrics": metrics, "request_id": TEXT}
    return object_of(answer, *answer, closed=False)


def events_of(**kinds: Schema) -> Schema:
    """Returns the schema of one event, as JSON lines have it: its data under its name."""
    return {
        **object_of({**kinds, "error": reference("ErrorInfo")}, closed=False),
        "minProperties": 1,
        "maxProperties": 1,
    }


def tool_event(data: Schema) -> Schema:
    """Returns the schema of one event of a tool's stream whose values are ``data``."""
    return {"anyOf": [object_of({"data": data}, "data"), reference("ToolNotice")]}


def tool_sse(data: Schema) -> Schema:
    """Returns the schema of one server-sent event of a tool's stream whose values are ``data``."""
    return {"anyOf": [_sse("data", data), reference("ToolNoticeSent")]}


def sse_of(event: Schema) -> Schema:
    """Returns the schema of one server-sent event from that of ``events_of``: its data is JSON under its name."""
    return {"oneOf": [_sse(name, part) for name, part in event["properties"].items()]}


def _sse(name: str, data: Schema) -> Schema:
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return object_of({"event": {"const": name}, "id": TEXT, "data": text}, "event", "data", closed=False)
