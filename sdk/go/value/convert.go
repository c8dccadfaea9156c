package value

import (
	"encoding"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/fields"
)

// DecodeInto reads a value from an Any into the variable that target points to. Its error is an *Error.
func DecodeInto(message *anypb.Any, target any) error {
	v, err := Decode(message)
	if err != nil {
		return err
	}
	return Convert(v, target)
}

// Convert stores a value, which has the form that Decode returns, in the variable that target points to.
//
// An integer fits into every numeric type that holds it, an integral float into an integer, a list into slices and
// arrays, a dict into maps and structs (by their json tags; keys that the struct does not have are skipped), a text into
// types with an UnmarshalText method, and null into what may be nil. Anything else is an error that names the place.
func Convert(v, target any) error {
	switch target := target.(type) {
	case *any:
		*target = v
		return nil
	case *string:
		if text, ok := v.(string); ok {
			*target = text
			return nil
		}
	case *int:
		if number, ok := v.(int64); ok {
			*target = int(number)
			return nil
		}
	}
	place := reflect.ValueOf(target)
	if place.Kind() != reflect.Pointer || place.IsNil() {
		return errorf("value.Convert needs a pointer, not a %T", target)
	}
	return convert(v, place.Elem(), "")
}

// As returns a value, which has the form that Decode returns, as a T; see Convert.
func As[T any](v any) (T, error) {
	var result T
	err := Convert(v, &result)
	return result, err
}

func mismatch(v any, target reflect.Type, where string) *Error {
	return errorf("%s%s cannot be stored in %s", at(where), kindOf(v), target)
}

func at(where string) string {
	if where == "" {
		return ""
	}
	return strings.TrimPrefix(where, ".") + ": "
}

// kindOf names a value in an error text.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, *big.Int:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a text"
	case []byte:
		return "bytes"
	case []any:
		return "a list"
	case *Dict:
		return "a dict"
	default:
		return "a " + reflect.TypeOf(v).String()
	}
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func convert(v any, target reflect.Value, where string) error {
	if v == nil {
		switch target.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
			target.SetZero()
			return nil
		}
		return mismatch(v, target.Type(), where)
	}
	source := reflect.ValueOf(v)
	if source.Type().AssignableTo(target.Type()) {
		target.Set(source)
		return nil
	}
	if target.Kind() == reflect.Pointer {
		fresh := reflect.New(target.Type().Elem())
		if err := convert(v, fresh.Elem(), where); err != nil {
			return err
		}
		target.Set(fresh)
		return nil
	}
	if done, err := convertSpecial(v, target); done || err != nil {
		return prefixed(err, where)
	}
	switch v := v.(type) {
	case int64, *big.Int, float64:
		if convertNumber(v, target) {
			return nil
		}
	case bool:
		if target.Kind() == reflect.Bool {
			target.SetBool(v)
			return nil
		}
	case string:
		if target.Kind() == reflect.String {
			target.SetString(v)
			return nil
		}
	case []byte:
		if isBytes(target.Type()) {
			target.SetBytes(v)
			return nil
		}
	case []any:
		return convertItems(v, target, where)
	case Tuple:
		return convertItems(v, target, where)
	case Set:
		return convertItems(v, target, where)
	case FrozenSet:
		return convertItems(v, target, where)
	case *Dict:
		return convertDict(v, target, where)
	}
	return mismatch(v, target.Type(), where)
}

func prefixed(err error, where string) error {
	if err == nil || where == "" {
		return err
	}
	return errorf("%s%v", at(where), err)
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

// convertSpecial stores a value in a type that this package knows, or one that reads texts.
func convertSpecial(v any, target reflect.Value) (bool, error) {
	switch place := target.Addr().Interface().(type) {
	case *time.Time:
		if moment, ok := v.(DateTime); ok {
			var err error
			*place, err = moment.Time(nil)
			return true, err
		}
		if text, ok := v.(string); ok {
			var err error
			*place, err = DateTime{ISO: text}.Time(nil)
			return true, err
		}
	case *big.Int:
		switch v := v.(type) {
		case int64:
			place.SetInt64(v)
			return true, nil
		case *big.Int:
			place.Set(v)
			return true, nil
		}
	case *Date:
		if text, ok := v.(string); ok {
			var err error
			*place, err = parseDate(text)
			return true, err
		}
	case *Decimal:
		if text, ok := v.(string); ok && isDecimal(text) {
			*place = Decimal(text)
			return true, nil
		}
	case *UUID:
		if text, ok := v.(string); ok {
			var err error
			*place, err = ParseUUID(text)
			return true, err
		}
	case *time.Duration, *Dict:
	default:
		if text, ok := v.(string); ok && target.Addr().Type().Implements(textUnmarshaler) {
			if err := place.(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
				return true, errorf("%.60q is no %s: %v", text, target.Type(), err)
			}
			return true, nil
		}
	}
	return false, nil
}

// convertNumber stores a number in a numeric type that holds it.
func convertNumber(v any, target reflect.Value) bool {
	if target.Type() == reflect.TypeFor[time.Duration]() {
		return false
	}
	switch target.Kind() {
	case reflect.Float32, reflect.Float64:
		switch v := v.(type) {
		case float64:
			target.SetFloat(v)
		case int64:
			target.SetFloat(float64(v))
		case *big.Int:
			number, _ := new(big.Float).SetInt(v).Float64()
			target.SetFloat(number)
		}
		return true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		number, ok := wholeOf(v).(int64)
		if !ok || target.OverflowInt(number) {
			return false
		}
		target.SetInt(number)
		return true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return convertUnsigned(wholeOf(v), target)
	}
	return false
}

func convertUnsigned(v any, target reflect.Value) bool {
	var number uint64
	switch v := v.(type) {
	case int64:
		if v < 0 {
			return false
		}
		number = uint64(v)
	case *big.Int:
		if !v.IsUint64() {
			return false
		}
		number = v.Uint64()
	default:
		return false
	}
	if target.OverflowUint(number) {
		return false
	}
	target.SetUint(number)
	return true
}

// wholeOf returns a number as an integer if it is one.
func wholeOf(v any) any {
	if number, ok := v.(float64); ok {
		if whole, ok := integral(number); ok {
			return whole
		}
	}
	return v
}

func convertItems(items []any, target reflect.Value, where string) error {
	switch target.Kind() {
	case reflect.Slice:
		target.Set(reflect.MakeSlice(target.Type(), len(items), len(items)))
	case reflect.Array:
		if target.Len() != len(items) {
			return errorf("%sa list of %d items cannot be stored in %s", at(where), len(items), target.Type())
		}
	default:
		return mismatch(items, target.Type(), where)
	}
	for i, item := range items {
		if err := convert(item, target.Index(i), where+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	return nil
}

func convertDict(dict *Dict, target reflect.Value, where string) error {
	switch target.Kind() {
	case reflect.Map:
		result := reflect.MakeMapWithSize(target.Type(), dict.Len())
		for key, item := range dict.All() {
			k, v := reflect.New(target.Type().Key()).Elem(), reflect.New(target.Type().Elem()).Elem()
			if err := convert(key, k, where+".<key>"); err != nil {
				return err
			}
			if err := convert(item, v, where+"."+textOf(key)); err != nil {
				return err
			}
			result.SetMapIndex(k, v)
		}
		target.Set(result)
		return nil
	case reflect.Struct:
		for _, field := range fields.Of(target.Type()) {
			item, found := dict.Get(field.Name)
			if !found {
				continue
			}
			if err := convert(item, target.FieldByIndex(field.Index), where+"."+field.Name); err != nil {
				return err
			}
		}
		return nil
	}
	return mismatch(dict, target.Type(), where)
}

func textOf(key any) string {
	if text, ok := key.(string); ok {
		return text
	}
	return kindOf(key)
}
