package value

import (
	"encoding"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/fields"
)

// TypePrefix begins the type URLs that Encode writes.
const TypePrefix = "type.googleapis.com/"

const (
	stringURL = TypePrefix + "google.protobuf.StringValue"
	intURL    = TypePrefix + "google.protobuf.Int64Value"
	doubleURL = TypePrefix + "google.protobuf.DoubleValue"
	boolURL   = TypePrefix + "google.protobuf.BoolValue"
	bytesURL  = TypePrefix + "google.protobuf.BytesValue"
	valueURL  = TypePrefix + "google.protobuf.Value"
	jsonURL   = TypePrefix + "dspex.bridge.Json"
	richURL   = TypePrefix + "dspex.bridge.RichValue"
	tensorURL = TypePrefix + "dspex.bridge.Tensor"
)

// Every NaN travels as this one.
const nanBits = 0x7ff8000000000000

// Encode writes a value as an Any. Its error is an *Error.
func Encode(v any) (*anypb.Any, error) {
	if packed, ok, err := encodeScalar(v); ok || err != nil {
		return packed, err
	}
	plain, err := normalize(v, MaxDepth)
	if err != nil {
		return nil, err
	}
	return encodePlain(plain)
}

// encodePlain writes a value in its form.
func encodePlain(plain any) (*anypb.Any, error) {
	if packed, ok, err := encodeScalar(plain); ok || err != nil {
		return packed, err
	}
	switch plain := plain.(type) {
	case Typed:
		if plain.TypeURL == "" {
			return nil, errorf("a value.Typed needs a type URL")
		}
		return &anypb.Any{TypeUrl: plain.TypeURL, Value: plain.Value}, nil
	case Scalar:
		if err := checkTensor(plain.DType, nil, plain.Data); err != nil {
			return nil, err
		}
		return packed(tensorURL, Tensor{DType: plain.DType, Data: plain.Data}.message())
	case Tensor:
		if err := checkTensor(plain.DType, plain.Shape, plain.Data); err != nil {
			return nil, err
		}
		if len(plain.Shape) > 0 {
			return packed(tensorURL, plain.message())
		}
	case *big.Int, []any, *Dict:
		if isJSON(plain) {
			if number, ok := plain.(*big.Int); ok {
				if err := checkDigits(number); err != nil {
					return nil, err
				}
			}
			return &anypb.Any{TypeUrl: jsonURL, Value: bytesField(appendJSON(nil, plain))}, nil
		}
	}
	message, err := richOf(plain, 0)
	if err != nil {
		return nil, err
	}
	return packed(richURL, message)
}

// encodeScalar writes what nearly every value is; false if it is something else.
func encodeScalar(v any) (*anypb.Any, bool, error) {
	switch v := v.(type) {
	case nil:
		return &anypb.Any{TypeUrl: valueURL, Value: []byte{8, 0}}, true, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, false, notUTF8()
		}
		return &anypb.Any{TypeUrl: stringURL, Value: textField(v)}, true, nil
	case bool:
		if v {
			return &anypb.Any{TypeUrl: boolURL, Value: []byte{8, 1}}, true, nil
		}
		return &anypb.Any{TypeUrl: boolURL}, true, nil
	case int:
		return encodeInt(int64(v)), true, nil
	case int64:
		return encodeInt(v), true, nil
	case float64:
		bits := bitsOf(v)
		if bits == 0 {
			return &anypb.Any{TypeUrl: doubleURL}, true, nil
		}
		return &anypb.Any{TypeUrl: doubleURL, Value: protowire.AppendFixed64([]byte{9}, bits)}, true, nil
	case []byte:
		return &anypb.Any{TypeUrl: bytesURL, Value: bytesField(v)}, true, nil
	}
	return nil, false, nil
}

func encodeInt(v int64) *anypb.Any {
	if v == 0 {
		return &anypb.Any{TypeUrl: intURL}
	}
	return &anypb.Any{TypeUrl: intURL, Value: protowire.AppendVarint(append(make([]byte, 0, 11), 8), uint64(v))}
}

func bitsOf(v float64) uint64 {
	if math.IsNaN(v) {
		return nanBits
	}
	return math.Float64bits(v)
}

// bytesField returns a message whose field 1 has these bytes.
func bytesField(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	out := make([]byte, 0, len(data)+6)
	return append(protowire.AppendVarint(append(out, 0x0a), uint64(len(data))), data...)
}

func textField(text string) []byte {
	if text == "" {
		return nil
	}
	out := make([]byte, 0, len(text)+6)
	return append(protowire.AppendVarint(append(out, 0x0a), uint64(len(text))), text...)
}

func notUTF8() *Error {
	return errorf("a text is not valid UTF-8, so it cannot travel; send it as []byte")
}

// ----------------------------------------------------------------------------------------- every other type of Go

// normalize returns a value in its form, as Decode would return it.
func normalize(v any, depth int) (any, error) {
	switch v := v.(type) {
	case nil, bool, int64, float64, []byte, time.Time, DateTime, Date, TimeOfDay, time.Duration, Delta, UUID, Decimal,
		complex128, Tensor, Scalar, Typed:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, notUTF8()
		}
		return v, nil
	case int:
		return int64(v), nil
	case *big.Int:
		if v == nil {
			return nil, nil
		}
		if err := checkDigits(v); err != nil {
			return nil, err
		}
		return integerOf(v), nil
	case []any:
		return normalizeItems(v, depth)
	case Tuple:
		items, err := normalizeItems(v, depth)
		return Tuple(items), err
	case Set:
		items, err := normalizeMembers(v, depth)
		return Set(items), err
	case FrozenSet:
		items, err := normalizeMembers(v, depth)
		return FrozenSet(items), err
	case *Dict:
		return normalizeDict(v, depth)
	case Dict:
		return normalizeDict(&v, depth)
	}
	return normalizeOther(reflect.ValueOf(v), depth)
}

func normalizeItems(items []any, depth int) ([]any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	out := make([]any, len(items))
	for i, item := range items {
		var err error
		if out[i], err = normalize(item, depth-1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func normalizeMembers(items []any, depth int) ([]any, error) {
	out, err := normalizeItems(items, depth)
	if err == nil && !unique(out) {
		return nil, errorf("a set has a member twice")
	}
	return out, err
}

func normalizeDict(dict *Dict, depth int) (any, error) {
	if dict == nil {
		return nil, nil
	}
	if depth < 1 {
		return nil, tooDeep()
	}
	out := &Dict{keys: make([]any, 0, dict.Len()), values: make([]any, 0, dict.Len())}
	for key, item := range dict.All() {
		key, err := normalize(key, depth-1)
		if err != nil {
			return nil, err
		}
		if item, err = normalize(item, depth-1); err != nil {
			return nil, err
		}
		out.add(key, item)
	}
	return out, nil
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

func normalizeOther(v reflect.Value, depth int) (any, error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
		if v.Type().Implements(textMarshaler) {
			return marshalText(v)
		}
		// A chain of pointers may be endless.
		if depth < 1 {
			return nil, tooDeep()
		}
		return normalize(v.Elem().Interface(), depth-1)
	}
	if v.Type().Implements(textMarshaler) {
		return marshalText(v)
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return integerOf(new(big.Int).SetUint64(v.Uint())), nil
	case reflect.Float32, reflect.Float64:
		return v.Float(), nil
	case reflect.Complex64, reflect.Complex128:
		return v.Complex(), nil
	case reflect.String:
		return normalize(v.String(), depth)
	case reflect.Slice, reflect.Array:
		return normalizeSlice(v, depth)
	case reflect.Map:
		return normalizeMap(v, depth)
	case reflect.Struct:
		return normalizeStruct(v, depth)
	}
	return nil, errorf("a %s has no form on the wire; send plain data", v.Type())
}

func marshalText(v reflect.Value) (any, error) {
	text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return nil, errorf("a %s cannot be written as text: %v", v.Type(), err)
	}
	return normalize(string(text), 0)
}

func normalizeSlice(v reflect.Value, depth int) (any, error) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		// As an empty one: a nil slice is no null to its owner.
		v = reflect.MakeSlice(v.Type(), 0, 0)
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if v.Kind() == reflect.Slice {
			return v.Bytes(), nil
		}
		data := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(data), v)
		return data, nil
	}
	if depth < 1 {
		return nil, tooDeep()
	}
	items := make([]any, v.Len())
	for i := range items {
		var err error
		if items[i], err = normalize(v.Index(i).Interface(), depth-1); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// normalizeMap sorts the keys, which have no order in Go.
func normalizeMap(v reflect.Value, depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	type entry struct {
		id         string
		key, value any
	}
	entries := make([]entry, 0, v.Len())
	for iterator := v.MapRange(); iterator.Next(); {
		key, err := normalize(iterator.Key().Interface(), depth-1)
		if err != nil {
			return nil, err
		}
		item, err := normalize(iterator.Value().Interface(), depth-1)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{identity(key), key, item})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.id, b.id) })
	dict := &Dict{keys: make([]any, 0, len(entries)), values: make([]any, 0, len(entries))}
	for _, one := range entries {
		dict.add(one.key, one.value)
	}
	return dict, nil
}

func normalizeStruct(v reflect.Value, depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	dict := new(Dict)
	for _, field := range fields.Of(v.Type()) {
		content := v.FieldByIndex(field.Index)
		if field.OmitEmpty && content.IsZero() {
			continue
		}
		item, err := normalize(content.Interface(), depth-1)
		if err != nil {
			return nil, err
		}
		dict.add(field.Name, item)
	}
	if dict.Len() == 0 && v.NumField() > 0 && len(fields.Of(v.Type())) == 0 {
		return nil, errorf("a %s has no exported fields, so it has no form on the wire; send plain data", v.Type())
	}
	return dict, nil
}
