// Package fields reads the fields of structs: their names on the wire, and what their tags say of them.
package fields

import (
	"reflect"
	"strings"
	"sync"
)

// Field is a field of a struct that travels.
type Field struct {
	// Name is the field's name on the wire: that of its json tag, else its name in Go.
	Name string
	// Index is for reflect.Value.FieldByIndex.
	Index []int
	Type  reflect.Type
	// OmitEmpty leaves the zero value out, and makes an argument optional.
	OmitEmpty bool
	// Default is the text of the default tag; HasDefault tells an empty one from none.
	Default    string
	HasDefault bool
	// Description is the text of the doc tag.
	Description string
	// Enum are the values of the enum tag, which are separated by commas.
	Enum []string
	// Minimum and Maximum are the texts of the min and max tags; empty: none.
	Minimum, Maximum string
}

// Required reports whether a caller must give the field.
func (f *Field) Required() bool {
	return !f.OmitEmpty && !f.HasDefault && f.Type.Kind() != reflect.Pointer
}

var known sync.Map // reflect.Type -> []Field

// Of returns the fields of a struct type, in order; those of embedded structs are among them.
func Of(t reflect.Type) []Field {
	if found, ok := known.Load(t); ok {
		return found.([]Field)
	}
	found, _ := known.LoadOrStore(t, read(t, nil, map[reflect.Type]bool{}))
	return found.([]Field)
}

func read(t reflect.Type, above []int, seen map[reflect.Type]bool) []Field {
	if seen[t] {
		return nil
	}
	seen[t] = true
	defer delete(seen, t)
	var all []Field
	for i := range t.NumField() {
		field := t.Field(i)
		index := append(append([]int(nil), above...), i)
		tag, tagged := field.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" && options == "" {
			continue
		}
		if field.Anonymous && !tagged && field.Type.Kind() == reflect.Struct {
			all = append(all, read(field.Type, index, seen)...)
			continue
		}
		if !field.IsExported() {
			continue
		}
		if name == "" {
			name = field.Name
		}
		one := Field{Name: name, Index: index, Type: field.Type, Description: field.Tag.Get("doc")}
		for _, option := range strings.Split(options, ",") {
			one.OmitEmpty = one.OmitEmpty || option == "omitempty" || option == "omitzero"
		}
		one.Default, one.HasDefault = field.Tag.Lookup("default")
		if values, ok := field.Tag.Lookup("enum"); ok {
			one.Enum = strings.Split(values, ",")
		}
		one.Minimum, one.Maximum = field.Tag.Get("min"), field.Tag.Get("max")
		all = append(all, one)
	}
	return all
}
