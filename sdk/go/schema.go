package toolbridge

import (
	"encoding"
	"encoding/json"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/fields"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// schema is a JSON Schema; encoding/json sorts its keys, so that the same type always has the same text. Workers that
// offer the same tool must have the same one.
type schema map[string]any

// knownSchemas are those of types that are not read by their kind, with their names in Python.
var knownSchemas = map[reflect.Type]struct {
	schema schema
	python string
}{
	reflect.TypeFor[time.Time]():       {schema{"type": "string", "format": "date-time"}, "datetime"},
	reflect.TypeFor[value.DateTime]():  {schema{"type": "string", "format": "date-time"}, "datetime"},
	reflect.TypeFor[value.Date]():      {schema{"type": "string", "format": "date"}, "date"},
	reflect.TypeFor[value.TimeOfDay](): {schema{"type": "string", "format": "time"}, "time"},
	reflect.TypeFor[time.Duration]():   {schema{"type": "string", "format": "duration"}, "timedelta"},
	reflect.TypeFor[value.UUID]():      {schema{"type": "string", "format": "uuid"}, "UUID"},
	reflect.TypeFor[value.Decimal]():   {schema{"type": "string"}, "Decimal"},
	reflect.TypeFor[value.Dict]():      {schema{"type": "object"}, "dict"},
	reflect.TypeFor[value.Tuple]():     {schema{"type": "array"}, "tuple"},
	reflect.TypeFor[value.Set]():       {schema{"type": "array"}, "set"},
	reflect.TypeFor[value.FrozenSet](): {schema{"type": "array"}, "frozenset"},
	reflect.TypeFor[value.Tensor]():    {schema{}, "ndarray"},
	reflect.TypeFor[value.Typed]():     {schema{}, "Any"},
	reflect.TypeFor[big.Int]():         {schema{"type": "integer"}, "int"},
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// schemaOf returns the schema of a type, and its name in Python, which the hub checks arguments by.
func schemaOf(t reflect.Type, above map[reflect.Type]bool) (schema, string) {
	if known, ok := knownSchemas[t]; ok {
		return known.schema, known.python
	}
	if t.Kind() == reflect.Pointer {
		inner, python := schemaOf(t.Elem(), above)
		return schema{"anyOf": []any{inner, schema{"type": "null"}}}, python + " | None"
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return schema{"type": "string"}, "str"
	}
	switch t.Kind() {
	case reflect.Bool:
		return schema{"type": "boolean"}, "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return schema{"type": "integer"}, "int"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return schema{"type": "integer", "minimum": 0}, "int"
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}, "float"
	case reflect.String:
		return schema{"type": "string"}, "str"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return schema{"type": "string", "contentEncoding": "base64"}, "bytes"
		}
		items, python := schemaOf(t.Elem(), above)
		return schema{"type": "array", "items": items}, "list[" + python + "]"
	case reflect.Map:
		values, python := schemaOf(t.Elem(), above)
		return schema{"type": "object", "additionalProperties": values}, "dict[str, " + python + "]"
	case reflect.Struct:
		// A type that contains itself is not described again.
		if above[t] {
			return schema{"type": "object"}, "dict"
		}
		above[t] = true
		defer delete(above, t)
		return objectSchema(t, above), "dict"
	}
	return schema{}, "Any"
}

// objectSchema returns the schema of a struct.
func objectSchema(t reflect.Type, above map[reflect.Type]bool) schema {
	properties, required := schema{}, []string{}
	for _, field := range fields.Of(t) {
		properties[field.Name] = fieldSchema(&field, above)
		if field.Required() {
			required = append(required, field.Name)
		}
	}
	object := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

func fieldSchema(field *fields.Field, above map[reflect.Type]bool) schema {
	found, _ := schemaOf(field.Type, above)
	described := schema{}
	for key, content := range found {
		described[key] = content
	}
	if field.Description != "" {
		described["description"] = field.Description
	}
	if len(field.Enum) > 0 {
		values := make([]any, len(field.Enum))
		for i, text := range field.Enum {
			values[i] = literalOf(text, field.Type)
		}
		described["enum"] = values
	}
	if field.HasDefault {
		described["default"] = literalOf(field.Default, field.Type)
	}
	for key, text := range map[string]string{"minimum": field.Minimum, "maximum": field.Maximum} {
		if number, err := strconv.ParseFloat(text, 64); err == nil {
			described[key] = number
		}
	}
	return described
}

// literalOf reads the text of a tag: as it is for a text, else as JSON.
func literalOf(text string, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.String {
		return text
	}
	var literal any
	if json.Unmarshal([]byte(text), &literal) != nil {
		return text
	}
	return literal
}

func schemaText(s schema) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}
