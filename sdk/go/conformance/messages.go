package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	// Messages that a vector may name.
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

func newMessage(name string) (protoreflect.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil, err
	}
	return kind.New(), nil
}

func decodeMessage(r *request) (object, error) {
	var fields struct {
		Message string
		Bytes   []byte
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	message, err := newMessage(fields.Message)
	if err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(fields.Bytes, message.Interface()); err != nil {
		return nil, err
	}
	return object{"fields": fieldsOf(message)}, nil
}

func encodeMessage(r *request) (object, error) {
	var fields struct {
		Message string
		Fields  json.RawMessage
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	message, err := newMessage(fields.Message)
	if err != nil {
		return nil, err
	}
	if err := fill(message, fields.Fields); err != nil {
		return nil, err
	}
	data, err := proto.Marshal(message.Interface())
	return object{"bytes": text(data)}, err
}

// fieldsOf returns the fields that are set in a message.
func fieldsOf(message protoreflect.Message) object {
	fields := object{}
	message.Range(func(field protoreflect.FieldDescriptor, content protoreflect.Value) bool {
		fields[string(field.Name())] = writeField(field, content)
		return true
	})
	return fields
}

func writeField(field protoreflect.FieldDescriptor, content protoreflect.Value) any {
	switch {
	case field.IsMap():
		entries := object{}
		content.Map().Range(func(key protoreflect.MapKey, item protoreflect.Value) bool {
			entries[key.String()] = writeOne(field.MapValue(), item)
			return true
		})
		return entries
	case field.IsList():
		items := []any{}
		for i := range content.List().Len() {
			items = append(items, writeOne(field, content.List().Get(i)))
		}
		return items
	}
	return writeOne(field, content)
}

func writeOne(field protoreflect.FieldDescriptor, content protoreflect.Value) any {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return fieldsOf(content.Message())
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return strconv.FormatInt(content.Int(), 10)
	case protoreflect.Uint64Kind:
		return strconv.FormatUint(content.Uint(), 10)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return bits(content.Float())
	case protoreflect.BytesKind:
		return text(content.Bytes())
	case protoreflect.EnumKind:
		return int32(content.Enum())
	}
	return content.Interface()
}

// fill sets the fields of a message.
func fill(message protoreflect.Message, data json.RawMessage) error {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		field := message.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil {
			return fmt.Errorf("a %s has no field %s", message.Descriptor().FullName(), name)
		}
		if err := fillField(message, field, given[name]); err != nil {
			return err
		}
	}
	return nil
}

func fillField(message protoreflect.Message, field protoreflect.FieldDescriptor, data json.RawMessage) error {
	switch {
	case field.IsMap():
		var entries map[string]json.RawMessage
		if err := json.Unmarshal(data, &entries); err != nil {
			return err
		}
		target := message.Mutable(field).Map()
		for key, entry := range entries {
			item, err := readOne(field.MapValue(), entry, target.NewValue)
			if err != nil {
				return err
			}
			target.Set(protoreflect.ValueOfString(key).MapKey(), item)
		}
		return nil
	case field.IsList():
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			return err
		}
		target := message.Mutable(field).List()
		for _, entry := range items {
			item, err := readOne(field, entry, target.NewElement)
			if err != nil {
				return err
			}
			target.Append(item)
		}
		return nil
	}
	item, err := readOne(field, data, func() protoreflect.Value { return message.NewField(field) })
	if err == nil {
		message.Set(field, item)
	}
	return err
}

func readOne(field protoreflect.FieldDescriptor, data json.RawMessage, fresh func() protoreflect.Value) (protoreflect.Value, error) {
	if field.Kind() == protoreflect.MessageKind {
		item := fresh()
		return item, fill(item.Message(), data)
	}
	var content any
	if err := json.Unmarshal(data, &content); err != nil {
		return protoreflect.Value{}, err
	}
	switch content := content.(type) {
	case bool:
		return protoreflect.ValueOfBool(content), nil
	case float64:
		switch field.Kind() {
		case protoreflect.Uint32Kind:
			return protoreflect.ValueOfUint32(uint32(content)), nil
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(content)), nil
		}
		return protoreflect.ValueOfInt32(int32(content)), nil
	case string:
		return readText(field, content)
	}
	return protoreflect.Value{}, fmt.Errorf("%s is no value of the field %s", data, field.Name())
}

// readText reads what stands in JSON as a text.
func readText(field protoreflect.FieldDescriptor, content string) (protoreflect.Value, error) {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(content), nil
	case protoreflect.BytesKind:
		data, err := base64.StdEncoding.DecodeString(content)
		return protoreflect.ValueOfBytes(data), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		number, err := strconv.ParseInt(content, 10, 64)
		return protoreflect.ValueOfInt64(number), err
	case protoreflect.Uint64Kind:
		number, err := strconv.ParseUint(content, 10, 64)
		return protoreflect.ValueOfUint64(number), err
	case protoreflect.DoubleKind:
		number, err := strconv.ParseUint(content, 16, 64)
		return protoreflect.ValueOfFloat64(math.Float64frombits(number)), err
	case protoreflect.FloatKind:
		number, err := strconv.ParseUint(content, 16, 64)
		return protoreflect.ValueOfFloat32(float32(math.Float64frombits(number))), err
	}
	return protoreflect.Value{}, fmt.Errorf("%q is no value of the field %s", content, field.Name())
}
