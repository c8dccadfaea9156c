// Package value converts Go values to the values of the tool bridge, and back.
//
// An argument, a result and the value of a variable travel as a google.protobuf.Any. Encode writes one, Decode reads
// it, and DecodeInto reads it into a variable of a declared type.
//
// # Forms
//
// What Decode returns, and what Encode takes for the same value:
//
//	null                    nil
//	boolean                 bool
//	integer                 int64; *big.Int beyond 64 bits
//	float                   float64
//	text                    string
//	bytes                   []byte
//	list                    []any
//	dict                    *Dict, which keeps the order of its keys
//	tuple, set, frozenset   Tuple, Set, FrozenSet
//	datetime                time.Time; DateTime without a time zone, or where time.Time cannot hold all of it
//	date, time              Date, TimeOfDay
//	timedelta               time.Duration; Delta where that is too short
//	uuid, decimal, complex  UUID, Decimal, complex128
//	array, scalar of NumPy  Tensor, Scalar
//	frame                   Typed: an Arrow IPC stream under the type URL that says whose
//
// Encode also takes every other integer and float type, slices, arrays, maps, structs (by their json tags), pointers,
// and types with a MarshalText method, which travel as text. Nothing is lost on the way from Any to Go and back: what
// Go has no type for keeps its own form.
package value

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// MaxDepth is the greatest number of containers within each other.
const MaxDepth = 100

// maxDigits of an integer: more would take a reader long.
const maxDigits = 100_000

// Error says that a value cannot be encoded, or that an Any is not a value. Its error type on the wire is
// SerializationError.
type Error struct {
	Message string
}

func (e *Error) Error() string { return e.Message }

func errorf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...)}
}

func tooDeep() *Error {
	return errorf("the value is nested deeper than %d levels, or contains itself; flatten it", MaxDepth)
}

// Tuple is a sequence that other languages tell from a list.
type Tuple []any

// Set is a set of values. Its order has no meaning.
type Set []any

// FrozenSet is a set that may be a member of a set.
type FrozenSet []any

// Typed is a value that is nothing but bytes under a type URL, such as a table of pandas.
type Typed struct {
	// TypeURL is that of the Any, such as "type.googleapis.com/pandas.DataFrame".
	TypeURL string
	// Value is the Any's value.
	Value []byte
}

// UUID is a UUID of any version.
type UUID [16]byte

// String returns the canonical form, such as "123e4567-e89b-12d3-a456-426614174000".
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// ParseUUID reads the canonical form of a UUID.
func ParseUUID(text string) (UUID, error) {
	var u UUID
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 32 || (len(text) != 32 && len(text) != 36) {
		return u, errorf("%.60q is not a UUID", text)
	}
	for i := range u {
		high, low := hexDigit(digits[2*i]), hexDigit(digits[2*i+1])
		if high < 0 || low < 0 {
			return u, errorf("%.60q is not a UUID", text)
		}
		u[i] = byte(high<<4 | low)
	}
	return u, nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Decimal is a decimal number as text, such as "1.10", "-1E+30" or "NaN": every digit counts.
type Decimal string

// Rat returns the number exactly; false for NaN, an infinity, and exponents beyond 100,000.
func (d Decimal) Rat() (*big.Rat, bool) {
	if _, exponent, found := strings.Cut(strings.ToLower(string(d)), "e"); found && len(strings.Trim(exponent, "+-0")) > 5 {
		return nil, false
	}
	if !isDecimal(string(d)) || strings.ContainsAny(string(d), "nN") {
		return nil, false
	}
	return new(big.Rat).SetString(string(d))
}

// isDecimal reports whether a text is a number as Python's Decimal reads it.
func isDecimal(text string) bool {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "-"), "+")
	lower := strings.ToLower(text)
	switch {
	case lower == "inf" || lower == "infinity":
		return true
	case strings.HasPrefix(lower, "nan"), strings.HasPrefix(lower, "snan"):
		_, payload, _ := strings.Cut(lower, "nan")
		return allDigits(payload)
	}
	mantissa, exponent, hasExponent := strings.Cut(lower, "e")
	if hasExponent {
		exponent = strings.TrimPrefix(strings.TrimPrefix(exponent, "-"), "+")
		if exponent == "" || !allDigits(exponent) {
			return false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	return whole+fraction != "" && allDigits(whole) && allDigits(fraction)
}

func allDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// integerOf returns an integer in its form: int64 if it fits, else *big.Int.
func integerOf(number *big.Int) any {
	if number.IsInt64() {
		return number.Int64()
	}
	return number
}

// parseInteger reads an integer from decimal digits, with a minus sign if negative.
func parseInteger(text string) (any, error) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || !allDigits(digits) {
		return nil, errorf("%.40q is not an integer: expected decimal digits", text)
	}
	if len(digits) > maxDigits {
		return nil, errorf("an integer of %d digits is too large: it may have %d", len(digits), maxDigits)
	}
	number, _ := new(big.Int).SetString(text, 10)
	return integerOf(number), nil
}

func checkDigits(number *big.Int) error {
	// A digit takes 3.33 bits.
	if number.BitLen() > maxDigits*10/3 {
		return errorf("an integer of %d bits is too large: integers may have %d digits; send its bytes", number.BitLen(), maxDigits)
	}
	return nil
}

// integral returns the integer that a float is; false if it is none.
func integral(number float64) (any, bool) {
	if math.IsInf(number, 0) || math.IsNaN(number) || number != math.Trunc(number) {
		return nil, false
	}
	if math.Abs(number) < 1<<63 {
		return int64(number), true
	}
	whole, _ := big.NewFloat(number).Int(nil)
	return integerOf(whole), true
}
