"""The gateway described by itself: an OpenAPI 3.1 document of its routes, and of the tools that can be called."""

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from itertools import permutations
from typing import Any

from starlette.routing import Route

from grpc_tool_bridge.errors import ERROR_TABLE
from grpc_tool_bridge.gateway.events import NDJSON, SSE
from grpc_tool_bridge.gateway.login import COOKIE
from grpc_tool_bridge.gateway.message_schemas import MessageSchemas, Schema, reference
from grpc_tool_bridge.gateway.route_docs import (
    ANY_REQUEST,
    PARAMETERS,
    TEXT,
    TOOL_NOTICES,
    RouteDoc,
    call_answer,
    events_of,
    object_of,
    route_docs,
    sse_of,
)  # fmt: skip
from grpc_tool_bridge.gateway.tool_paths import ToolPaths
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Beyond these, tools have no paths of their own, or no schemas of their own.
MAX_TOOLS = 500
MAX_SCHEMA_CHARS = 2_000_000

_ABOUT = (
    "A hub of tools over HTTP. Every tool has paths of its own, with its own schemas; any tool can be called by "
    "`/api/sessions/{session_id}/tools/{tool}/execute` as well.\n\n"
    'A value that JSON has no form for is `{"$type": …, "value": …}` in both directions: dates, bytes, sets, tuples, '
    "frames, integers beyond 2^53, NaN."
)
_TAGS: Mapping[str, str] = {
    "sessions": "What a caller has in the hub: tools, variables, agents.",
    "tools": "Any tool that a session sees.",
    "tools of this hub": "Each tool by its own schemas.",
    "variables": "Values that a session keeps.",
    "agents": "Agents and their runs.",
    "operations": "What goes on in the hub.",
    "access": "Who may call.",
    "documentation": "This document.",
}
# What HTTP itself refuses, besides the table of errors.
_OF_HTTP: Mapping[int, str] = {408: "TimeoutError", 415: "UnsupportedMediaType"}


class OpenApi:
    """The documents of a gateway.

    Args:
        routes: Its routes.
        needs_token: Whether callers need a token.
    """

    def __init__(self, routes: Iterable[Route], *, needs_token: bool) -> None:
        self._needs_token = needs_token
        self._schemas = MessageSchemas()
        self._docs = route_docs(self._schemas)
        self._paths: dict[str, Any] = {}
        # MCP describes itself, by its own means.
        served = [route for route in routes if route.include_in_schema]
        for route in served:
            path = _written(route.path)
            for method in sorted((route.methods or set()) - {"HEAD"}):
                operation = self._operation(self._docs[f"{method} {path}"], path, route)
                self._paths.setdefault(path, {})[method.lower()] = operation
        self._add_shadowed(served)
        self._components = self._shared()

    def document(self, specs: Sequence[ToolSpec]) -> bytes:
        """Writes the document; ``specs`` are those of the tools that have paths of their own, the first of them."""
        paths = dict(self._paths)
        schemas = dict(self._components["schemas"])
        any_tool = "/api/sessions/{session_id}/tools/{tool}"
        call, streams = self._paths[f"{any_tool}/execute"]["post"], self._paths[f"{any_tool}/stream"]
        left = MAX_SCHEMA_CHARS
        for spec in specs[:MAX_TOOLS]:
            left -= len(spec.input_schema) + len(spec.output_schema)
            tool = ToolPaths(spec, call, streams, with_schemas=left >= 0)
            paths.update(tool.paths)
            schemas.update(tool.schemas)
        about = _ABOUT
        if len(specs) > MAX_TOOLS:
            about += f"\n\nOf {len(specs):,} tools, the first {MAX_TOOLS:,} have paths of their own here."
        document = {
            "openapi": "3.1.0",
            "info": {
                "title": "gRPC tool bridge",
                "version": version("grpc-tool-bridge"),
                "description": about,
                "contact": {"name": "gRPC tool bridge"},
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": self._security(),
            "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
            "paths": paths,
            "components": {**self._components, "schemas": schemas},
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def _add_shadowed(self, routes: Sequence[Route]) -> None:
        """Adds what a path answers by a route that others share: of the tool "batch", its description."""
        for route, wider in permutations(routes, 2):
            own, shared = self._paths[_written(route.path)], self._paths[_written(wider.path)]
            if route.path == wider.path or not wider.path_regex.match(route.path):
                continue
            last = wider.path.rpartition("/")[2][1:-1]
            for method in shared.keys() - own.keys():
                operation = shared[method]
                parameters = [item for item in operation["parameters"] if item != _parameter_named(last)]
                name = f"{operation['operationId']}.{route.path.rpartition('/')[2]}"
                own[method] = {**operation, "operationId": name, "parameters": parameters}

    def _operation(self, doc: RouteDoc, path: str, route: Route) -> dict[str, Any]:
        in_path = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        operation: dict[str, Any] = {
            "operationId": doc.name,
            "tags": [doc.tag],
            **_told(route),
            "parameters": [_parameter_named(name) for name in (*in_path, *doc.parameters, "X-Request-Id")],
            "responses": self._responses(doc),
        }
        if doc.body is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": doc.body}}}
        if doc.is_open:
            operation["security"] = []
        return operation

    def _responses(self, doc: RouteDoc) -> dict[str, Any]:
        if doc.streams:
            content = {SSE: {"schema": sse_of(doc.answer)}, NDJSON: {"schema": doc.answer}}
        else:
            content = {doc.media_type: {"schema": doc.answer}}
        headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
        responses = {
            str(status): {"description": text, "headers": headers, "content": content}
            for status, text in doc.answers.items()
        }
        kept = ANY_REQUEST | doc.errors if self._needs_token else (ANY_REQUEST | doc.errors) - {401}
        for status in sorted(kept - doc.answers.keys()):
            responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
        return responses

    def _security(self) -> list[dict[str, list[str]]]:
        return [{"bearer": []}, {"cookie": []}] if self._needs_token else [{}]

    def _shared(self) -> dict[str, Any]:
        """Writes what the paths refer to."""
        schemas: dict[str, Schema] = {
            "Error": object_of({"error": self._schemas.answered(pb.ErrorInfo)}, "error", closed=False),
            "CallAnswer": call_answer(self._schemas),
            "ToolNotice": events_of(**TOOL_NOTICES),
            "ToolNoticeSent": sse_of(events_of(**TOOL_NOTICES)),
            "Message": object_of({"message": TEXT}, "message"),
            "Value": {"description": "Any value; a Tagged where JSON has no form for it."},
            "Tagged": {
                **object_of({"$type": TEXT, "value": {}}, "$type", "value"),
                "description": "A value that JSON has no form for, by the name of its type.",
            },
        }
        failures = {str(status): _failure(status, names) for status, names in _errors_by_status().items()}
        shared: dict[str, Any] = {
            "schemas": {**schemas, **self._schemas.components},
            "parameters": {name: _parameter(name, part) for name, part in PARAMETERS.items()},
            "headers": {
                "X-Request-Id": {"schema": TEXT, "description": "The name of the request, in logs as well."},
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."},
            },
            "responses": failures,
        }
        if self._needs_token:
            shared["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "Given by `/api/login`, where its name ends with the port of the hub.",
                },
            }
        else:
            del failures["401"]
        return shared


def _parameter_named(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _parameter(name: str, part: Schema) -> dict[str, Any]:
    return {"name": name, **part, "required": part["in"] == "path"}


def _errors_by_status() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, rule in ERROR_TABLE.items():
        found.setdefault(rule.http, []).append(name)
    for status, name in _OF_HTTP.items():
        found.setdefault(status, []).append(name)
    return dict(sorted(found.items()))


def _failure(status: int, names: Sequence[str]) -> dict[str, Any]:
    said = ", ".join(names)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        said += ", or what the tool raised"
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    return {
        "description": f"{said}.",
        "headers": headers,
        "content": {"application/json": {"schema": reference("Error")}},
    }


def _told(route: Route) -> dict[str, str]:
    """Returns the summary and the description of a route: the first line of its docstring, and all of it."""
    text = inspect.cleandoc(route.endpoint.__doc__ or "").replace("``", "`")
    return {"summary": text.partition("\n")[0], "description": text}


def _written(path: str) -> str:
    """Writes the path of a route with the full name of its session."""
    return path.replace("{sid}", "{session_id}")
