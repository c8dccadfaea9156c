"""JSON Schema (2020-12) of a tool's arguments and of its result."""

import json
from collections.abc import Mapping
from enum import Flag, IntFlag
from functools import reduce
from operator import or_
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.tools.argument_kinds import VAR_KEYWORD, VAR_POSITIONAL
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.signatures import EMPTY, Parameter, Signature
from grpc_tool_bridge.tools.structs import has_struct_fields
from grpc_tool_bridge.tools.typespecs import public_name
from grpc_tool_bridge.values.records import is_pydantics
from grpc_tool_bridge.values.serialization import Writing, pack_value

# Writes everything that a receiver could declare, except for secrets.
_BUT_SECRETS = Writing(declares=lambda _, format_: format_ != "password")


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, changed to describe what the bridge accepts, and never to fail."""

    def render_warning_message(self, kind: Any, detail: str) -> None:
        """Does nothing: a type that cannot be described in full is described less precisely."""

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        made = super().ser_schema(schema)
        # For a serializer without a return type, pydantic would describe its input.
        if (
            made is None
            and self.mode == "serialization"
            and "function" in schema
            and not is_pydantics(schema["function"])
        ):
            return {}
        return made

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> dict[str, Any]:
        made = super().timedelta_schema(schema)
        # A model may be configured to write seconds; the bridge sends a timedelta.
        return {"type": "string", "format": "duration"} if self.mode == "serialization" else made

    def complex_schema(self, schema: core_schema.ComplexSchema) -> dict[str, Any]:
        made = super().complex_schema(schema)
        return made if self.mode == "serialization" else {"anyOf": [{"type": "number"}, made]}

    def json_or_python_schema(self, schema: core_schema.JsonOrPythonSchema) -> dict[str, Any]:
        made = super().json_or_python_schema(schema)
        # Pydantic marks only its secrets of text and bytes.
        is_secret = getattr(schema.get("serialization", {}).get("function"), "__name__", "") == "_serialize_secret"
        return {**made, "format": "password"} if is_secret else made

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> dict[str, Any]:
        return {"x-python-type": public_name(schema["cls"])}

    def bytes_schema(self, schema: core_schema.BytesSchema) -> dict[str, Any]:
        made = super().bytes_schema(schema)
        # The form in which JSON carries them; the framework adapters read it.
        made.pop("format", None)
        return {**made, "contentEncoding": "base64"}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> dict[str, Any]:
        made = super().decimal_schema(schema)
        # A number with a fraction would pass through a float, which is inexact.
        for choice in made.get("anyOf", []):
            if choice.get("type") == "number":
                choice["type"] = "integer"
        return made

    def enum_schema(self, schema: core_schema.EnumSchema) -> dict[str, Any]:
        made = super().enum_schema(schema)
        if issubclass(schema["cls"], Flag):
            # A combination of members is a value too.
            made = {key: value for key, value in made.items() if key not in ("enum", "const")} | {"type": "integer"}
            made["minimum"] = 0
            if not issubclass(schema["cls"], IntFlag):
                made["maximum"] = reduce(or_, (member.value for member in schema["cls"]), 0)
        return made

    def encode_default(self, dft: Any) -> Any:
        if _holds_secret(dft):
            raise PydanticSerializationError("not shown")
        return _with_base64(dft) if _holds_bytes(dft) else super().encode_default(dft)

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        return self._opened(super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> dict[str, Any]:
        return self._opened(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> dict[str, Any]:
        made = super().typed_dict_schema(schema)
        return self._struct(schema["cls"], made) if has_struct_fields(schema.get("cls")) else made

    def _struct(self, cls: Any, made: dict[str, Any]) -> dict[str, Any]:
        """Describes a struct: an array-like one as an array, and the tag of one with subclasses as any."""
        config = getattr(cls, "__struct_config__", None)
        if config is not None and config.array_like:
            # Those after the last required one may be omitted.
            required = [place for place, key in enumerate(made["properties"], 1) if key in made.get("required", ())]
            fields = list(made["properties"].values())
            least = len(fields) if self.mode == "serialization" else max(required, default=0)
            array = {"type": "array", "prefixItems": fields, "minItems": least, "maxItems": len(fields)}
            # It is also read from its fields by name.
            return array if self.mode == "serialization" else {"anyOf": [array, made]}
        if self.mode == "serialization" and config is not None and config.tag_field and cls.__subclasses__():
            made["properties"][config.tag_field].pop("const", None)
        return self._opened(made)

    def _opened(self, made: dict[str, Any]) -> dict[str, Any]:
        """Allows an output object to have more or fewer fields: it may be of a subclass, or only partly constructed."""
        if self.mode == "serialization" and made.get("additionalProperties") is False:
            del made["additionalProperties"]
        return made

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002 - pydantic's
        return {"x-python-type": schema["type"]}


def input_schema(signature: Signature, checks: Mapping[str, Check]) -> str:
    """Writes the schema of a tool's arguments, given a check for each of them by name.

    Returns:
        The JSON of an object schema with a property for each parameter, in the order of the signature. ``*args`` is a
        property that holds an array, ``**kwargs`` is ``additionalProperties``.
    """
    made, definitions = _generate({name: check.schema for name, check in checks.items()}, "validation")
    properties: dict[str, Any] = {}
    others: Any = False
    takes_others = any(item.kind is VAR_KEYWORD for item in signature.parameters)
    for item in signature.parameters:
        schema = made[item.name]
        if item.kind is VAR_KEYWORD:
            others = schema or True
        elif item.kind is not VAR_POSITIONAL:
            properties[item.name] = _property(item, schema)
        elif not takes_others:
            properties[item.name] = _property(item, {"type": "array", "items": schema})
    whole: dict[str, Any] = {"type": "object", "properties": properties}
    required = [item.name for item in signature.parameters if item.required]
    if required:
        whole["required"] = required
    whole["additionalProperties"] = others
    if definitions:
        whole["$defs"] = definitions
    return json.dumps(whole, ensure_ascii=False)


def output_schema(check: Check, description: str = "") -> str:
    """Writes the schema of a tool's result, or of one item of its stream, with its description from the docstring."""
    made, definitions = _generate({"": check.schema}, "serialization")
    whole = made[""]
    if description:
        whole.setdefault("description", description)
    if definitions:
        whole["$defs"] = definitions
    return json.dumps(whole, ensure_ascii=False)


def _generate(schemas: Mapping[str, Any], mode: JsonSchemaMode) -> tuple[dict[str, dict[str, Any]], dict[Any, Any]]:
    generator = _Generator()
    inputs = [(name, mode, cast("core_schema.CoreSchema", schema)) for name, schema in schemas.items()]
    made, definitions = generator.generate_definitions(inputs)
    _without_wrong_names([*made.values(), *definitions.values()], definitions)
    return {name: dict(schema) for (name, _), schema in made.items()}, {**definitions}


def _without_wrong_names(part: Any, definitions: Mapping[Any, Any]) -> None:
    """Removes the rules for keys of a dict that are not texts, since all keys are texts in JSON."""
    if isinstance(part, dict):
        names = part.get("propertyNames")
        if isinstance(names, dict):
            named = definitions.get(str(names.get("$ref", "")).rpartition("/")[2], names)
            values = named.get("enum", [named["const"]] if "const" in named else [])
            if named.get("type", "string") != "string" or not all(isinstance(value, str) for value in values):
                del part["propertyNames"]
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _without_wrong_names(item, definitions)


def _holds_secret(default: Any) -> bool:
    """Whether a default holds a secret; its asterisks could be mistaken for the value."""
    try:
        pack_value(default, _BUT_SECRETS)
    except SerializationError as error:
        return bool(error.details.get("declares") == "password")
    except Exception:  # noqa: BLE001 - an iterator's own, say
        return False
    return False


def _with_base64(default: Any) -> Any:
    """Writes a default as JSON, with bytes in the form that their schema names."""
    return to_jsonable_python(default, bytes_mode="base64")


def _holds_bytes(default: Any) -> bool:
    """Whether how bytes are written makes a difference to a default."""
    try:
        return bool(_with_base64(default) != to_jsonable_python(default, bytes_mode="hex"))
    except Exception:  # noqa: BLE001 - what a class raises that writes itself
        return False


def _property(parameter: Parameter, schema: dict[str, Any]) -> dict[str, Any]:
    if parameter.description:
        schema.setdefault("description", parameter.description)
    if parameter.default is not EMPTY and not _holds_secret(parameter.default):
        try:
            default = _with_base64(parameter.default)
            json.dumps(default, allow_nan=False)
        except (PydanticSerializationError, ValueError):
            return schema
        schema["default"] = default
    return schema
