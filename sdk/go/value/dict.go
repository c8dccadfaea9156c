package value

import (
	"encoding/binary"
	"iter"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Dict is a dict: keys of any kind, in the order in which they were set. The zero Dict is empty.
type Dict struct {
	keys, values []any
	// Place of each key by its identity; nil until a key is looked up.
	index map[string]int
}

// DictOf returns a dict of keys and values in turn. It panics if a value is missing or a key is no valid key.
func DictOf(pairs ...any) *Dict {
	if len(pairs)%2 != 0 {
		panic("value.DictOf: a key has no value")
	}
	d := new(Dict)
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// Len returns the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Get returns the value of a key, and whether there is one. Numbers are compared by value, as in Python: 1 finds 1.0.
func (d *Dict) Get(key any) (any, bool) {
	place, found := d.lookup()[identity(key)]
	if !found {
		return nil, false
	}
	return d.values[place], true
}

// Set sets the value of a key; a new key comes last.
func (d *Dict) Set(key, value any) {
	id := identity(key)
	if place, found := d.lookup()[id]; found {
		d.values[place] = value
		return
	}
	d.index[id] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
}

// All iterates over keys and values, in order.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for i, key := range d.keys {
			if !yield(key, d.values[i]) {
				return
			}
		}
	}
}

// Map returns the dict as a map; false if a key is not a text.
func (d *Dict) Map() (map[string]any, bool) {
	m := make(map[string]any, len(d.keys))
	for i, key := range d.keys {
		name, ok := key.(string)
		if !ok {
			return nil, false
		}
		m[name] = d.values[i]
	}
	return m, true
}

func (d *Dict) lookup() map[string]int {
	if d.index == nil {
		d.index = make(map[string]int, len(d.keys))
		for i, key := range d.keys {
			d.index[identity(key)] = i
		}
	}
	return d.index
}

// add appends a key that is not there yet.
func (d *Dict) add(key, value any) {
	d.keys, d.values = append(d.keys, key), append(d.values, value)
}

// unique reports whether no two of the items are equal.
func unique(items []any) bool {
	if len(items) < 2 {
		return true
	}
	seen := make(map[string]struct{}, len(items))
	for _, item := range items {
		id := identity(item)
		if _, found := seen[id]; found && !hasNaN(item) {
			return false
		}
		seen[id] = struct{}{}
	}
	return true
}

// identity returns a text that is the same for equal keys and members. Numbers are equal by value.
func identity(key any) string {
	switch key := key.(type) {
	case string:
		return "s" + key
	case int64:
		return "n" + strconv.FormatInt(key, 10)
	case int:
		return "n" + strconv.Itoa(key)
	case bool:
		if key {
			return "n1"
		}
		return "n0"
	case float64:
		if whole, ok := integral(key); ok {
			return identity(whole)
		}
		return "f" + strconv.FormatFloat(key, 'g', -1, 64)
	case *big.Int:
		return "n" + key.String()
	case complex128:
		if imag(key) == 0 {
			return identity(real(key))
		}
		return "c" + strconv.FormatComplex(key, 'g', -1, 128)
	case Tuple:
		return "(" + joined(identities(key))
	case FrozenSet:
		members := identities(key)
		slices.Sort(members)
		return "{" + joined(members)
	}
	packed, err := Encode(key)
	if err != nil {
		return "?"
	}
	return "a" + packed.TypeUrl + "\x00" + string(packed.Value)
}

func identities(items []any) []string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = identity(item)
	}
	return all
}

func joined(members []string) string {
	var all []byte
	for _, member := range members {
		all = binary.AppendUvarint(all, uint64(len(member)))
		all = append(all, member...)
	}
	return string(all)
}

// hasNaN reports whether a key is, or contains, a NaN, which equals nothing.
func hasNaN(key any) bool {
	switch key := key.(type) {
	case float64:
		return math.IsNaN(key)
	case complex128:
		return math.IsNaN(real(key)) || math.IsNaN(imag(key))
	case Tuple:
		return anyNaN(key)
	case FrozenSet:
		return anyNaN(key)
	case Decimal:
		return strings.Contains(strings.ToLower(string(key)), "nan")
	}
	return false
}

func anyNaN(items []any) bool {
	for _, item := range items {
		if hasNaN(item) {
			return true
		}
	}
	return false
}
