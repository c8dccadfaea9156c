package value

import (
	"math"
	"math/big"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A Json message is read and written here, and not by encoding/json, which neither keeps the order of keys, nor tells 3
// from 3.0, nor refuses a text that is not UTF-8.

// isJSON reports whether JSON holds a value in its form exactly.
func isJSON(v any) bool {
	switch v := v.(type) {
	case nil, bool, int64, *big.Int, string:
		return true
	case float64:
		return !math.IsNaN(v) && !math.IsInf(v, 0)
	case []any:
		for _, item := range v {
			if !isJSON(item) {
				return false
			}
		}
		return true
	case *Dict:
		for key, item := range v.All() {
			if _, ok := key.(string); !ok || !isJSON(item) {
				return false
			}
		}
		return true
	}
	return false
}

// appendJSON writes a value for which isJSON is true.
func appendJSON(out []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(out, "null"...)
	case bool:
		return strconv.AppendBool(out, v)
	case int64:
		return strconv.AppendInt(out, v, 10)
	case *big.Int:
		return v.Append(out, 10)
	case float64:
		return appendFloat(out, v)
	case string:
		return appendText(out, v)
	case []any:
		out = append(out, '[')
		for i, item := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, item)
		}
		return append(out, ']')
	case *Dict:
		out = append(out, '{')
		for i, key := range v.keys {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendText(out, key.(string))
			out = append(out, ':')
			out = appendJSON(out, v.values[i])
		}
		return append(out, '}')
	}
	panic("value: not JSON")
}

// appendFloat writes a float so that it is read as one: 3.0, not 3.
func appendFloat(out []byte, number float64) []byte {
	start := len(out)
	out = strconv.AppendFloat(out, number, 'g', -1, 64)
	for _, c := range out[start:] {
		if c == '.' || c == 'e' {
			return out
		}
	}
	return append(out, ".0"...)
}

const hexDigits = "0123456789abcdef"

func appendText(out []byte, text string) []byte {
	out = append(out, '"')
	plain := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(out, text[plain:]...), '"')
}

// parser reads one JSON text.
type parser struct {
	text []byte
	at   int
}

func decodeJSON(text []byte, depth int) (any, error) {
	p := &parser{text: text}
	v, err := p.value(depth)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(text) {
		return nil, p.invalid("more text follows the value")
	}
	return v, nil
}

func (p *parser) invalid(why string) *Error {
	return errorf("the text is not valid JSON: %s (byte %d)", why, p.at)
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next returns the next byte that is no space; 0 at the end.
func (p *parser) next() byte {
	p.space()
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) value(depth int) (any, error) {
	switch c := p.next(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == '-' || ('0' <= c && c <= '9'):
		return p.number()
	case c == 't':
		return true, p.word("true")
	case c == 'f':
		return false, p.word("false")
	case c == 'n':
		return nil, p.word("null")
	case c == 0:
		return nil, p.invalid("it is cut off")
	default:
		return nil, p.invalid("a value is expected")
	}
}

func (p *parser) word(word string) error {
	if len(p.text)-p.at < len(word) || string(p.text[p.at:p.at+len(word)]) != word {
		return p.invalid("a value is expected")
	}
	p.at += len(word)
	return nil
}

func (p *parser) array(depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	p.at++
	items := []any{}
	if p.next() == ']' {
		p.at++
		return items, nil
	}
	for {
		item, err := p.value(depth - 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		done, err := p.ends(']')
		if done || err != nil {
			return items, err
		}
	}
}

func (p *parser) object(depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	p.at++
	dict := new(Dict)
	if p.next() == '}' {
		p.at++
		return dict, nil
	}
	for {
		if p.next() != '"' {
			return nil, p.invalid("a key is expected")
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if p.next() != ':' {
			return nil, p.invalid("a colon is expected")
		}
		p.at++
		item, err := p.value(depth - 1)
		if err != nil {
			return nil, err
		}
		dict.Set(key, item)
		done, err := p.ends('}')
		if done || err != nil {
			return dict, err
		}
	}
}

// ends reads what follows an item: the end of its container, or a comma.
func (p *parser) ends(end byte) (bool, error) {
	switch p.next() {
	case end:
		p.at++
		return true, nil
	case ',':
		p.at++
		return false, nil
	}
	return false, p.invalid("a comma or the end of the container is expected")
}

func (p *parser) number() (any, error) {
	start := p.at
	if p.text[p.at] == '-' {
		p.at++
	}
	whole := p.digits()
	if whole == 0 || (whole > 1 && p.text[p.at-whole] == '0') {
		return nil, p.invalid("a number begins with one digit, and not with 0 if it has more")
	}
	isFloat := false
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		isFloat = true
		if p.digits() == 0 {
			return nil, p.invalid("digits are expected after a point")
		}
	}
	if p.at < len(p.text) && (p.text[p.at] == 'e' || p.text[p.at] == 'E') {
		p.at++
		isFloat = true
		if p.at < len(p.text) && (p.text[p.at] == '+' || p.text[p.at] == '-') {
			p.at++
		}
		if p.digits() == 0 {
			return nil, p.invalid("digits are expected in an exponent")
		}
	}
	text := string(p.text[start:p.at])
	if !isFloat {
		if number, err := strconv.ParseInt(text, 10, 64); err == nil {
			return number, nil
		}
		return parseInteger(text)
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, errorf("%.40s is out of the range of a double", text)
	}
	return number, nil
}

func (p *parser) digits() int {
	start := p.at
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at - start
}

func (p *parser) string() (string, error) {
	p.at++
	start := p.at
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return checkedText(p.text[start:i])
		case c == '\\':
			return p.escaped(start, i)
		case c < ' ':
			p.at = i
			return "", p.invalid("a control character in a text must be escaped")
		}
	}
	p.at = len(p.text)
	return "", p.invalid("a text is cut off")
}

// escaped reads a text that has its first backslash at i.
func (p *parser) escaped(start, i int) (string, error) {
	out := append([]byte(nil), p.text[start:i]...)
	for i < len(p.text) {
		c := p.text[i]
		if c == '"' {
			p.at = i + 1
			return checkedText(out)
		}
		if c < ' ' {
			p.at = i
			return "", p.invalid("a control character in a text must be escaped")
		}
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		if i+1 == len(p.text) {
			break
		}
		if p.text[i+1] == 'u' {
			r, size := p.codePoint(i)
			if size == 0 {
				p.at = i
				return "", p.invalid("an escape is not a character")
			}
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		plain, ok := escapes[p.text[i+1]]
		if !ok {
			p.at = i
			return "", p.invalid("an escape is not known")
		}
		out = append(out, plain)
		i += 2
	}
	p.at = len(p.text)
	return "", p.invalid("a text is cut off")
}

var escapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// codePoint reads \uXXXX, or a pair of surrogates, at i; its size is 0 if it is neither.
func (p *parser) codePoint(i int) (rune, int) {
	first := p.unit(i)
	switch {
	case first < 0:
		return 0, 0
	case !utf16.IsSurrogate(first):
		return first, 6
	}
	r := utf16.DecodeRune(first, p.unit(i+6))
	if r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// unit reads \uXXXX at i; -1 if it is not there.
func (p *parser) unit(i int) rune {
	if i+6 > len(p.text) || p.text[i] != '\\' || p.text[i+1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range p.text[i+2 : i+6] {
		digit := hexDigit(c)
		if digit < 0 {
			return -1
		}
		r = r<<4 | rune(digit)
	}
	return r
}

func checkedText(data []byte) (string, error) {
	if !utf8.Valid(data) {
		return "", errorf("a text is not valid UTF-8")
	}
	return string(data), nil
}
