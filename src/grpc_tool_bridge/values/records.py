"""Objects with fields as dicts: dataclasses, pydantic models, attrs classes and msgspec structs.

There are two forms. The class reads the input form back as an equal object: the keys that it is constructed from, every
field, nothing computed. The JSON Schema of a result describes the output form: the keys and serializers for output,
with computed fields and without excluded ones.
"""

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import msgspec

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.errors.class_facts import ABSENT, static_attribute
from grpc_tool_bridge.values.foreign import foreign

# Makes the dict of an instance; in the output form if the flag is set.
Fields = Callable[[Any, bool], Any]


@lru_cache(maxsize=4_096)
def fields_of(kind: type) -> Fields | None:
    """Returns the function that converts instances of a class to dicts; None if the class has no fields."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        return _pydantic_fields(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass_fields(kind)
    if hasattr(kind, "__attrs_attrs__"):
        return _attrs_fields(kind)
    return _struct_fields(kind) if issubclass(kind, msgspec.Struct) else None


# ------------------------------------------------------------------------------------------------------------ pydantic


def _pydantic_fields(kind: Any) -> Fields:
    """Reads a model or a pydantic dataclass field by field, so that each value is written by its own class."""
    if getattr(kind, "__pydantic_root_model__", False):
        return lambda value, output: _written(value) if output and own_mode(_inside(kind)) else value.root
    fields = [_Field.of(name, info, kind) for name, info in kind.__pydantic_fields__.items()]
    decorators = kind.__pydantic_decorators__
    computed = [(name, item.info.alias or name) for name, item in decorators.computed_fields.items()]
    as_a_whole = bool(decorators.model_serializers)
    runs_code = bool(computed) or any(field.serialized for field in fields)

    def read(value: Any, output: bool) -> Any:
        if output and as_a_whole:
            return _written(value)
        if output and runs_code:
            foreign(value)
        made: dict[str, Any] = {}
        for field in fields:
            field.put(value, made, output=output)
        if output:
            made.update((key, getattr(value, name)) for name, key in computed)
        made.update(getattr(value, "__pydantic_extra__", None) or {})
        return made

    return read


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """One field of a model.

    Attributes:
        name: Its attribute.
        input_key, output_key: Its key in either form.
        excluded: Whether its class excludes it from serialization.
        excluded_if: Returns whether a value is excluded.
        serialized: How its class serializes it: "" (as it is), "python" or "json".
        is_json: Whether it is read from a JSON text.
        is_written_back: Whether some of it is read from an encoded text: JSON in a list, Base64.
        default: Its value if it is not given.
    """

    name: str
    input_key: str
    output_key: str
    excluded: bool
    excluded_if: Callable[[Any], bool] | None
    serialized: str
    is_json: bool
    is_written_back: bool
    default: Any

    @classmethod
    def of(cls, name: str, info: Any, owner: Any) -> "_Field":
        alias = info.validation_alias
        choices = getattr(alias, "choices", None)
        first = choices[0] if choices else alias
        schema = _field_schema(owner, name)
        mode, encoded = writing_mode(schema), is_encoded(schema)
        return cls(
            name,
            first if isinstance(first, str) else name,
            info.serialization_alias or name,
            bool(info.exclude),
            getattr(info, "exclude_if", None),
            mode,
            is_json(schema),
            (encoded or holds_json(schema)) and not own_mode(schema),
            info.default,
        )

    def put(self, value: Any, into: dict[str, Any], *, output: bool) -> None:
        """Adds the field of an instance to its dict."""
        held = getattr(value, self.name)
        if not output and self.excluded and _is_same(held, self.default):
            # The reader has the same default.
            return
        if not output:
            into[self.input_key] = self._as_read(value, held)
        elif not (self.excluded or (self.excluded_if is not None and self.excluded_if(held))):
            if self.serialized:
                written = _serialized(value, include={self.name}, mode=self.serialized)
                held = written.get(self.output_key, held)
            into[self.output_key] = held

    def _as_read(self, value: Any, held: Any) -> Any:
        if self.is_json:
            return _json_text(held)
        if not self.is_written_back:
            return held
        return _serialized(value, include={self.name}, round_trip=True).get(self.output_key, held)


def _written(value: Any) -> Any:
    """Writes an object by the serializer of its class, which is user code."""
    foreign(value)
    return _serialized(value)


def _serialized(value: Any, *, include: set[str] | None = None, mode: str = "python", round_trip: bool = False) -> Any:
    write = value.__pydantic_serializer__.to_python
    return write(value, mode=mode, include=include, by_alias=True, round_trip=round_trip, warnings="error")


def _is_same(held: Any, default: Any) -> bool:
    # The equality of an array or a frame is not a bool.
    try:
        return held is default or (type(held) is type(default) and bool(held == default))
    except Exception:  # noqa: BLE001 - user code
        return False


def _json_text(held: Any) -> str | None:
    """Writes the value of a ``Json`` field as the text that it is read from."""
    if held is None:
        return None
    plain = sys.modules["pydantic_core"].to_jsonable_python(held)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _inside(owner: Any) -> Any:
    """Returns the core schema of the fields of a model or dataclass."""
    schema = owner.__pydantic_core_schema__
    if schema["type"] == "definitions":
        # It refers to itself by name.
        schema = next((each for each in schema["definitions"] if each.get("cls") is owner), schema["schema"])
    while isinstance(schema, dict) and schema.get("type") not in ("model", "dataclass"):
        schema = schema.get("schema")
    return schema.get("schema") if isinstance(schema, dict) else None


def _field_schema(owner: Any, name: str) -> Any:
    schema = _inside(owner)
    while isinstance(schema, dict) and "fields" not in schema:
        schema = schema.get("schema")
    fields = schema["fields"] if isinstance(schema, dict) else {}
    if isinstance(fields, dict):
        return fields.get(name)
    return next((field for field in fields if field["name"] == name), None)


# ------------------------------------------------------------------------------------------- dataclasses and the like


def _dataclass_fields(kind: Any) -> Fields:
    names = [field.name for field in dataclasses.fields(kind)]
    unkept = _init_only(kind)
    if hasattr(kind, "__pydantic_fields__"):
        read = _pydantic_fields(kind)
    else:
        read = _read_attributes(kind, [(name, name) for name in names])

    def read_checked(value: Any, output: bool) -> Any:
        if not output:
            raise SerializationError(
                f"a {kind.__name__} does not keep its InitVar {', '.join(map(repr, unkept))}, so it cannot be "
                "constructed again; send dataclasses.asdict(...) of it, or use register_codec"
            )
        return read(value, output)

    return read_checked if unkept else read


def _read_attributes(kind: Any, keys: list[tuple[str, str]]) -> Fields:
    """Reads attributes into their keys; in an output, the serializers in their annotations are applied."""
    writers = writers_of(kind)
    runs_code = any(_is_code(static_attribute(kind, name)) for name, _ in keys)

    def read(value: Any, output: bool) -> Any:
        if runs_code or (output and writers):
            foreign(value)
        if output and writers:
            return {key: writers.get(name, _same)(getattr(value, name)) for name, key in keys}
        return {key: getattr(value, name) for name, key in keys}

    return read


def _is_code(attribute: Any) -> bool:
    """Returns whether an attribute of a class is a descriptor whose code runs on access, such as a property."""
    kind = type(attribute)
    if kind in (types.MemberDescriptorType, types.GetSetDescriptorType):
        return False
    return static_attribute(kind, "__set__") is not ABSENT or static_attribute(kind, "__delete__") is not ABSENT


def _same(held: Any) -> Any:
    return held


def _init_only(kind: Any) -> list[str]:
    """Lists the ``InitVar``s of a dataclass."""
    pseudo = dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public tells of them
    return [name for name, field in kind.__dataclass_fields__.items() if field._field_type is pseudo]  # noqa: SLF001 - likewise


def _attrs_fields(kind: Any) -> Fields:
    keys = [(field.name, field.alias if field.init else field.name) for field in kind.__attrs_attrs__]
    return _read_attributes(kind, keys)


def _struct_fields(kind: Any) -> Fields:
    config = kind.__struct_config__
    if config.array_like:
        return lambda value, _: [getattr(value, name) for name in kind.__struct_fields__]
    keys = list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    read_all = _read_attributes(kind, keys)

    def read(value: Any, output: bool) -> Any:
        made = {key: held for key, held in read_all(value, output).items() if held is not msgspec.UNSET}
        return {config.tag_field: config.tag, **made} if config.tag_field else made

    return read


# ---------------------------------------------------------------------------------------------------------- serializers


def writing_mode(schema: Any) -> str:
    """Returns the mode, "python" or "json", in which a value is serialized for an output; empty: it stays as it is."""
    return own_mode(schema) or ("python" if is_encoded(schema) else "")


def is_encoded(schema: Any) -> bool:
    """Whether some of a field is held decoded, like ``Base64Str``, and would be decoded twice if read as it is."""
    types = sys.modules["pydantic"].types
    kinds = (types.EncodedBytes, types.EncodedStr)

    def encodes(part: Any) -> bool:
        found = part.get("serialization")
        return isinstance(found, dict) and isinstance(getattr(found.get("function"), "__self__", None), kinds)

    return _any_part(schema, encodes)


def is_json(schema: Any) -> bool:
    """Whether a field is read from a JSON text."""
    while isinstance(schema, dict):
        if schema.get("type") == "json":
            return True
        schema = schema.get("schema")
    return False


def holds_json(schema: Any) -> bool:
    """Whether some of a field is read from a JSON text."""
    return _any_part(schema, lambda part: part.get("type") == "json")


def is_pydantics(function: Any) -> bool:
    """Whether a serializer or a validator is pydantic's or the bridge's own, not user code."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.partition(".")[0] in ("pydantic", "pydantic_core", "grpc_tool_bridge", "operator")


def writers_of(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """Finds the fields whose annotations have pydantic serializers, and the functions that write them."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return {}
    found: dict[str, Callable[[Any], Any]] = {}
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    # The check of the type reports what is wrong.
    except Exception:  # noqa: BLE001
        return {}
    for name, hint in hints.items():
        if not _may_be_serialized(hint):
            continue
        try:
            adapter = pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
        except Exception:  # noqa: BLE001, S112 - likewise
            continue
        mode = writing_mode(adapter.core_schema)
        if mode:
            found[name] = partial(adapter.serializer.to_python, mode=mode, by_alias=True, warnings="error")
    return found


def _may_be_serialized(hint: Any) -> bool:
    own = vars(hint) if isinstance(hint, type) else {}
    if hasattr(hint, "__metadata__") or "__get_pydantic_core_schema__" in own:
        return True
    return any(map(_may_be_serialized, typing.get_args(hint)))


def own_mode(schema: Any) -> str:
    """Returns the mode of a user's serializer on a field or inside its type."""
    if isinstance(schema, dict):
        if schema.get("type") in ("model", "dataclass"):
            # It is written by its own class.
            return ""
        found: Any = schema.get("serialization")
        function = found.get("function") if isinstance(found, dict) else None
        if function is not None and not is_pydantics(function):
            return "json" if str(found.get("when_used", "always")).startswith("json") else "python"
        parts: Any = [part for key, part in schema.items() if key != "metadata"]
    else:
        parts = schema if isinstance(schema, list | tuple) else ()
    return next(filter(None, map(own_mode, parts)), "")


def _any_part(schema: Any, condition: Callable[[Any], bool]) -> bool:
    """Whether a condition holds for a part of a schema, except in models: each is written by its own class."""
    if isinstance(schema, dict):
        if schema.get("type") in ("model", "dataclass"):
            return False
        if condition(schema):
            return True
        return any(_any_part(part, condition) for key, part in schema.items() if key != "metadata")
    return isinstance(schema, list | tuple) and any(_any_part(part, condition) for part in schema)
