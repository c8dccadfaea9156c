// Conformance is the peer for Go: it reads a request a line from stdin and writes an answer a line to stdout. The
// protocol is that of conformance/README.md at the top of the repository.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	// A peer must know every time zone, wherever it runs.
	_ "time/tzdata"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

type object = map[string]any

// request is what the runner asks for; raw has the fields of its action.
type request struct {
	ID  int64  `json:"id"`
	Do  string `json:"do"`
	raw json.RawMessage
}

// read stores the fields of the request in target.
func (r *request) read(target any) error { return json.Unmarshal(r.raw, target) }

var actions = map[string]func(*request) (object, error){
	"hello":          hello,
	"decode_value":   decodeValue,
	"encode_value":   encodeValue,
	"round_trip":     roundTrip,
	"decode_error":   decodeError,
	"encode_error":   encodeError,
	"decode_message": decodeMessage,
	"encode_message": encodeMessage,
	"link":           playLink,
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	sessions := newSessions()
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		one := request{raw: line}
		if err := json.Unmarshal(line, &one); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		action := actions[one.Do]
		if action == nil {
			action = sessions.action(one.Do)
		}
		answer := object{"id": one.ID}
		if action == nil {
			answer["error"] = object{"type": "Unimplemented", "message": "this peer does not have " + one.Do}
		} else if ok, err := action(&one); err != nil {
			answer["error"] = written(err)
		} else {
			answer["ok"] = ok
		}
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(answer); err != nil {
			panic(err)
		}
		if err := out.Flush(); err != nil {
			return
		}
	}
}

// written returns an error as the runner reads it.
func written(err error) object {
	var own *toolbridge.Error
	var malformed *value.Error
	switch {
	case errors.As(err, &own):
		found := object{"type": own.Type, "message": own.Message, "origin": own.Origin, "retryable": own.Retryable}
		if own.Status != "" {
			found["status"] = own.Status
		}
		return found
	case errors.As(err, &malformed):
		return object{"type": "SerializationError", "message": malformed.Message}
	}
	return object{"type": "ProtocolError", "message": err.Error()}
}

// forms are what each kind of value is in Go.
var forms = map[string]string{
	"null": "nil", "boolean": "bool", "integer": "int64, *big.Int", "float": "float64", "text": "string", "bytes": "[]byte",
	"list": "[]any", "dict": "*value.Dict", "tuple": "value.Tuple", "set": "value.Set", "frozenset": "value.FrozenSet",
	"datetime": "time.Time, value.DateTime", "date": "value.Date", "time": "value.TimeOfDay",
	"timedelta": "time.Duration, value.Delta", "uuid": "value.UUID", "decimal": "value.Decimal", "complex": "complex128",
	"tensor": "value.Tensor", "tensor_scalar": "value.Scalar", "typed": "value.Typed",
}

func hello(*request) (object, error) {
	return object{
		"language": "Go", "version": strings.TrimPrefix(runtime.Version(), "go"), "forms": forms,
		"roles": []string{"dialler", "worker", "hub"},
	}, nil
}

// readAny reads the Any of a request.
func readAny(r *request) (*anypb.Any, error) {
	var fields struct{ Any []byte }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	message := new(anypb.Any)
	if err := proto.Unmarshal(fields.Any, message); err != nil {
		return nil, &value.Error{Message: "it is not an Any: " + err.Error()}
	}
	return message, nil
}

func writeAny(v any) (object, error) {
	packed, err := value.Encode(v)
	if err != nil {
		return nil, err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(packed)
	return object{"any": text(data)}, err
}

func decodeValue(r *request) (object, error) {
	message, err := readAny(r)
	if err != nil {
		return nil, err
	}
	v, err := value.Decode(message)
	if err != nil {
		return nil, err
	}
	return object{"meaning": describe(v)}, nil
}

func encodeValue(r *request) (object, error) {
	var fields struct{ Meaning *meaning }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	v, err := fields.Meaning.realize()
	if err != nil {
		return nil, err
	}
	return writeAny(v)
}

func roundTrip(r *request) (object, error) {
	message, err := readAny(r)
	if err != nil {
		return nil, err
	}
	v, err := value.Decode(message)
	if err != nil {
		return nil, err
	}
	return writeAny(v)
}

func text(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
