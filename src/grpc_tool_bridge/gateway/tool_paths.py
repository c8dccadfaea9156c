"""The paths of one tool in the document: to call it, and to stream it."""

from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.gateway.events import NDJSON, SSE
from grpc_tool_bridge.gateway.message_schemas import Schema, or_null, reference
from grpc_tool_bridge.gateway.query import query_kind
from grpc_tool_bridge.gateway.route_docs import tool_event, tool_sse
from grpc_tool_bridge.gateway.tool_schemas import local_schema
from grpc_tool_bridge.llm.tool_args import tool_args
from grpc_tool_bridge.llm.tool_marks import deprecated_of, described
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType

MAX_DESCRIPTION_CHARS = 2_000
MAX_SHORT_CHARS = 200
# Arguments of a tool that are listed as parameters of a query.
MAX_QUERY_PARAMETERS = 100


class ToolPaths:
    """What the document says of one tool.

    Args:
        spec: The tool's.
        call: The operation of any tool's ``execute``.
        streams: Those of any tool's ``stream``, by method.
        with_schemas: Whether its own schemas are in it; without them it accepts and returns anything.

    Attributes:
        paths: Its paths.
        schemas: The schemas that they refer to.
    """

    def __init__(
        self,
        spec: ToolSpec,
        call: Mapping[str, Any],
        streams: Mapping[str, Mapping[str, Any]],
        *,
        with_schemas: bool = True,
    ) -> None:
        self._spec = spec
        self._key = f"tool.{spec.tool_id}"
        given = local_schema(spec.input_schema, f"{self._key}.input") if with_schemas else None
        answer = local_schema(spec.output_schema, f"{self._key}.output", answered=True) if with_schemas else None
        self._input: Schema = given if isinstance(given, dict) else {"type": "object"}
        output = reference(f"{self._key}.output")
        self.schemas: dict[str, Schema] = {
            f"{self._key}.input": self._input,
            f"{self._key}.output": {} if answer is None else answer,
            f"{self._key}.answer": self._answer(),
            f"{self._key}.line": tool_event(output),
            f"{self._key}.event": tool_sse(output),
        }
        path = f"/api/sessions/{{session_id}}/tools/{quote(spec.tool_id, safe='')}"
        self.paths: dict[str, Any] = {
            f"{path}/execute": {"post": self._call(call)},
            f"{path}/stream": {
                "get": self._stream("get", streams["get"], self._query(streams["get"]["parameters"])),
                "post": self._stream("post", streams["post"], streams["post"]["parameters"]),
            },
        }

    def _call(self, general: Mapping[str, Any]) -> dict[str, Any]:
        answers = dict(general["responses"])
        answers["200"] = {
            **answers["200"],
            "content": {"application/json": {"schema": reference(f"{self._key}.answer")}},
        }
        return {**self._own("execute", "Calls", general, general["parameters"]), "responses": answers}

    def _stream(self, method: str, general: Mapping[str, Any], parameters: list[Any]) -> dict[str, Any]:
        answers = dict(general["responses"])
        answers["200"] = {
            **answers["200"],
            "content": {
                SSE: {"schema": reference(f"{self._key}.event")},
                NDJSON: {"schema": reference(f"{self._key}.line")},
            },
        }
        own = self._own(f"stream.{method}", "Streams", general, parameters)
        return {**own, "responses": answers}

    def _own(self, what: str, does: str, general: Mapping[str, Any], parameters: list[Any]) -> dict[str, Any]:
        spec = self._spec
        # Said in full once: there may be hundreds of tools.
        limit = MAX_DESCRIPTION_CHARS if what == "execute" else MAX_SHORT_CHARS
        text = wire_text(described(spec), limit) or f"{does} {spec.tool_id}."
        own: dict[str, Any] = {
            "operationId": f"{self._key}.{what}",
            "tags": ["tools of this hub"],
            "summary": f"{does} {spec.tool_id}.",
            "description": text,
            "parameters": [item for item in parameters if item.get("$ref") != "#/components/parameters/tool"],
        }
        if deprecated_of(spec):
            own["deprecated"] = True
        if "requestBody" in general:
            own["requestBody"] = {"required": True, "content": {"application/json": {"schema": self._body(general)}}}
        return own

    def _body(self, general: Mapping[str, Any]) -> Schema:
        """Takes arguments by name, which is what their schema is about."""
        whole = general["requestBody"]["content"]["application/json"]["schema"]
        fields = {name: part for name, part in whole["properties"].items() if name != "args"}
        kwargs = reference(f"{self._key}.input")
        if self._input.get("required"):
            return {**whole, "properties": {**fields, "kwargs": kwargs}, "required": ["kwargs"]}
        return {**whole, "properties": {**fields, "kwargs": or_null(kwargs)}}

    def _query(self, general: list[Any]) -> list[Any]:
        properties = self._input.get("properties", {})
        required = self._input.get("required", [])
        parts = tool_args(self._spec)
        parameters = [item for item in general if item["$ref"].rpartition("/")[2] not in properties]
        for name, part in islice(properties.items(), MAX_QUERY_PARAMETERS):
            pointer = name.replace("~", "~0").replace("/", "~1")
            where = f"{reference(f'{self._key}.input')['$ref']}/properties/{quote(pointer)}"
            kind = query_kind(parts.get(name))
            if isinstance(part, dict) and "anyOf" in part:
                # Without its null, which a query has no text for.
                texts = [index for index, choice in enumerate(part["anyOf"]) if choice != {"type": "null"}]
                where = f"{where}/anyOf/{texts[0]}" if kind and len(texts) == 1 else where
            schema = {"$ref": where}
            form = {"content": {"application/json": {"schema": schema}}} if kind is None else {"schema": schema}
            parameters.append({"name": name, "in": "query", "required": name in required, **form})
        return parameters

    def _answer(self) -> Schema:
        result = reference(f"{self._key}.output")
        streams = self._spec.type == ToolType.STREAMING
        items: Schema = {"type": "array", "items": result} if streams else result
        return {"allOf": [reference("CallAnswer"), {"type": "object", "properties": {"result": items}}]}
