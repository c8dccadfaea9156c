package main

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// describe returns the meaning of a value in its form.
func describe(v any) object {
	switch v := v.(type) {
	case nil:
		return object{"kind": "null"}
	case bool:
		return object{"kind": "boolean", "value": v}
	case int64:
		return object{"kind": "integer", "text": strconv.FormatInt(v, 10)}
	case *big.Int:
		return object{"kind": "integer", "text": v.String()}
	case float64:
		return object{"kind": "float", "bits": bits(v)}
	case string:
		return object{"kind": "text", "text": v}
	case []byte:
		return object{"kind": "bytes", "base64": text(v)}
	case []any:
		return object{"kind": "list", "items": describeAll(v)}
	case value.Tuple:
		return object{"kind": "tuple", "items": describeAll(v)}
	case value.Set:
		return object{"kind": "set", "items": describeAll(v)}
	case value.FrozenSet:
		return object{"kind": "frozenset", "items": describeAll(v)}
	case *value.Dict:
		entries := []any{}
		for key, item := range v.All() {
			entries = append(entries, []any{describe(key), describe(item)})
		}
		return object{"kind": "dict", "entries": entries}
	}
	return describeLeaf(v)
}

func describeLeaf(v any) object {
	switch v := v.(type) {
	case time.Time, value.DateTime:
		return moment("datetime", rich(v).GetDatetime())
	case value.TimeOfDay:
		return moment("time", rich(v).GetTime())
	case value.Date:
		return object{"kind": "date", "iso": v.String()}
	case time.Duration, value.Delta:
		delta := rich(v).GetTimedelta()
		return object{"kind": "timedelta", "days": delta.Days, "seconds": delta.Seconds, "microseconds": delta.Microseconds}
	case value.UUID:
		return object{"kind": "uuid", "text": v.String()}
	case value.Decimal:
		return object{"kind": "decimal", "text": string(v)}
	case complex128:
		return object{"kind": "complex", "real": bits(real(v)), "imag": bits(imag(v))}
	case value.Tensor:
		return object{"kind": "tensor", "dtype": v.DType, "shape": v.Shape, "base64": text(v.Data)}
	case value.Scalar:
		return object{"kind": "tensor_scalar", "dtype": v.DType, "shape": []int{}, "base64": text(v.Data)}
	case value.Typed:
		return object{"kind": "typed", "type_url": v.TypeURL, "base64": text(v.Value)}
	}
	panic(fmt.Sprintf("a %T has no meaning", v))
}

// rich returns a value as it travels.
func rich(v any) *pb.RichValue {
	packed, err := value.Encode(v)
	if err != nil {
		panic(err)
	}
	message := new(pb.RichValue)
	if err := packed.UnmarshalTo(message); err != nil {
		panic(err)
	}
	return message
}

func moment(kind string, m *pb.RichDateTime) object {
	return object{"kind": kind, "iso": m.Iso, "zone": m.Zone, "fold": m.Fold, "offset_name": m.OffsetName}
}

func describeAll(items []any) []any {
	all := make([]any, len(items))
	for i, item := range items {
		all[i] = describe(item)
	}
	return all
}

func bits(v float64) string { return fmt.Sprintf("%016x", value.FloatBits(v)) }

func readBits(text string) (float64, error) {
	number, err := strconv.ParseUint(text, 16, 64)
	return math.Float64frombits(number), err
}

// meaning is a value as the runner writes it.
type meaning struct {
	Kind         string
	Value        bool
	Text         string
	Bits         string
	Base64       []byte
	Items        []*meaning
	Entries      [][2]*meaning
	ISO          string `json:"iso"`
	Zone         string
	Fold         bool
	OffsetName   string `json:"offset_name"`
	Days         int32
	Seconds      int32
	Microseconds int32
	Real, Imag   string
	DType        string `json:"dtype"`
	Shape        []int
	TypeURL      string `json:"type_url"`
}

// realize returns the value that has the meaning.
func (m *meaning) realize() (any, error) {
	switch m.Kind {
	case "null":
		return nil, nil
	case "boolean":
		return m.Value, nil
	case "integer":
		number, ok := new(big.Int).SetString(m.Text, 10)
		if !ok {
			return nil, fmt.Errorf("%q is not an integer", m.Text)
		}
		return number, nil
	case "float":
		return readBits(m.Bits)
	case "text":
		return m.Text, nil
	case "bytes":
		return append([]byte{}, m.Base64...), nil
	case "list":
		return m.items()
	case "tuple":
		items, err := m.items()
		return value.Tuple(items), err
	case "set":
		items, err := m.items()
		return value.Set(items), err
	case "frozenset":
		items, err := m.items()
		return value.FrozenSet(items), err
	case "dict":
		return m.dict()
	}
	return m.leaf()
}

func (m *meaning) items() ([]any, error) {
	items := make([]any, len(m.Items))
	for i, item := range m.Items {
		var err error
		if items[i], err = item.realize(); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (m *meaning) dict() (any, error) {
	dict := new(value.Dict)
	for _, entry := range m.Entries {
		key, err := entry[0].realize()
		if err != nil {
			return nil, err
		}
		item, err := entry[1].realize()
		if err != nil {
			return nil, err
		}
		dict.Set(key, item)
	}
	return dict, nil
}

// leaf returns a value that is read from how it travels.
func (m *meaning) leaf() (any, error) {
	at := &pb.RichDateTime{Iso: m.ISO, Zone: m.Zone, Fold: m.Fold, OffsetName: m.OffsetName}
	switch m.Kind {
	case "datetime":
		return fromRich(&pb.RichValue{Kind: &pb.RichValue_Datetime{Datetime: at}})
	case "time":
		return fromRich(&pb.RichValue{Kind: &pb.RichValue_Time{Time: at}})
	case "date":
		return fromRich(&pb.RichValue{Kind: &pb.RichValue_Date{Date: m.ISO}})
	case "timedelta":
		return fromRich(&pb.RichValue{Kind: &pb.RichValue_Timedelta{Timedelta: &pb.RichDelta{
			Days: m.Days, Seconds: m.Seconds, Microseconds: m.Microseconds,
		}}})
	case "uuid":
		return value.ParseUUID(m.Text)
	case "decimal":
		return value.Decimal(m.Text), nil
	case "complex":
		re, err := readBits(m.Real)
		if err != nil {
			return nil, err
		}
		im, err := readBits(m.Imag)
		return complex(re, im), err
	case "tensor":
		return value.Tensor{DType: m.DType, Shape: m.Shape, Data: m.Base64}, nil
	case "tensor_scalar":
		return value.Scalar{DType: m.DType, Data: m.Base64}, nil
	case "typed", "opaque":
		return value.Decode(&anypb.Any{TypeUrl: m.TypeURL, Value: m.Base64})
	}
	return nil, fmt.Errorf("%q is not a kind of value", m.Kind)
}

func fromRich(message *pb.RichValue) (any, error) {
	packed, err := anypb.New(message)
	if err != nil {
		return nil, err
	}
	return value.Decode(packed)
}
