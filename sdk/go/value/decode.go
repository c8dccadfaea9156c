package value

import (
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Decode reads a value in its form from an Any, from any peer. Its error is an *Error.
func Decode(message *anypb.Any) (any, error) {
	return decode(message, MaxDepth)
}

func nameOf(typeURL string) string {
	return typeURL[strings.LastIndexByte(typeURL, '/')+1:]
}

func malformed(typeURL string, err error) *Error {
	return errorf("the bytes under %.200q are not a value of that type: %v", typeURL, err)
}

func decode(message *anypb.Any, depth int) (any, error) {
	typeURL, payload := message.GetTypeUrl(), message.GetValue()
	name := nameOf(typeURL)
	v, err := decodeNamed(name, typeURL, payload, depth)
	if err == nil {
		return v, nil
	}
	if own, ok := err.(*Error); ok {
		return nil, own
	}
	return nil, malformed(typeURL, err)
}

func decodeNamed(name, typeURL string, payload []byte, depth int) (any, error) {
	switch name {
	case "google.protobuf.StringValue":
		return readText(payload)
	case "google.protobuf.Int64Value":
		return readInt(payload)
	case "google.protobuf.BytesValue":
		message := new(wrapperspb.BytesValue)
		err := proto.Unmarshal(payload, message)
		if message.Value == nil {
			return []byte{}, err
		}
		return message.Value, err
	case "google.protobuf.DoubleValue":
		message := new(wrapperspb.DoubleValue)
		err := proto.Unmarshal(payload, message)
		return message.Value, err
	case "google.protobuf.BoolValue":
		message := new(wrapperspb.BoolValue)
		err := proto.Unmarshal(payload, message)
		return message.Value, err
	case "google.protobuf.Value":
		if len(payload) == 2 && payload[0] == 8 && payload[1] == 0 {
			return nil, nil
		}
		message := new(structpb.Value)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, err
		}
		return readValue(message, depth)
	case "google.protobuf.ListValue":
		message := new(structpb.ListValue)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, err
		}
		return readList(message, depth)
	case "google.protobuf.Struct":
		message := new(structpb.Struct)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, err
		}
		return readStruct(message, depth)
	case "dspex.bridge.Json":
		message := new(pb.Json)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, err
		}
		return decodeJSON(message.Utf8, depth)
	case "dspex.bridge.RichValue":
		message := new(pb.RichValue)
		if err := proto.Unmarshal(payload, message); err != nil {
			return nil, err
		}
		return readRich(message, depth)
	case "dspex.bridge.Tensor":
		return decodeTensor(payload)
	}
	return decodeRare(name, typeURL, payload)
}

func decodeTensor(payload []byte) (any, error) {
	message := new(pb.Tensor)
	if err := proto.Unmarshal(payload, message); err != nil {
		return nil, err
	}
	tensor, err := readTensor(message)
	if err != nil {
		return nil, err
	}
	if len(tensor.Shape) == 0 {
		return Scalar{DType: tensor.DType, Data: tensor.Data}, nil
	}
	return tensor, nil
}

// decodeRare reads the wrapper types that no bridge writes, frames, and the texts of unknown classes.
func decodeRare(name, typeURL string, payload []byte) (any, error) {
	switch name {
	case "google.protobuf.Int32Value":
		message := new(wrapperspb.Int32Value)
		err := proto.Unmarshal(payload, message)
		return int64(message.Value), err
	case "google.protobuf.UInt32Value":
		message := new(wrapperspb.UInt32Value)
		err := proto.Unmarshal(payload, message)
		return int64(message.Value), err
	case "google.protobuf.UInt64Value":
		message := new(wrapperspb.UInt64Value)
		err := proto.Unmarshal(payload, message)
		return integerOf(new(big.Int).SetUint64(message.Value)), err
	case "google.protobuf.FloatValue":
		message := new(wrapperspb.FloatValue)
		err := proto.Unmarshal(payload, message)
		return float64(message.Value), err
	case "google.protobuf.Empty":
		return nil, proto.Unmarshal(payload, new(emptypb.Empty))
	case "pandas.DataFrame", "pandas.Series", "pandas.Index", "pyarrow.Table", "polars.DataFrame":
		return Typed{TypeURL: typeURL, Value: payload}, nil
	case "":
		return nil, errorf("the Any has no type URL, so it holds no value; null is a google.protobuf.Value")
	}
	if class, found := strings.CutPrefix(name, "python."); found && class != "" {
		return readText(payload)
	}
	return nil, errorf("the type URL %.200q is not known", typeURL)
}

// readText reads a StringValue; nearly every one is nothing but its field.
func readText(payload []byte) (any, error) {
	if len(payload) > 1 && payload[0] == 0x0a {
		if size, n := protowire.ConsumeVarint(payload[1:]); n > 0 && size == uint64(len(payload)-1-n) && utf8.Valid(payload[1+n:]) {
			return string(payload[1+n:]), nil
		}
	}
	message := new(wrapperspb.StringValue)
	err := proto.Unmarshal(payload, message)
	return message.Value, err
}

func readInt(payload []byte) (any, error) {
	if len(payload) > 1 && payload[0] == 8 {
		if number, n := protowire.ConsumeVarint(payload[1:]); n == len(payload)-1 {
			return int64(number), nil
		}
	}
	message := new(wrapperspb.Int64Value)
	err := proto.Unmarshal(payload, message)
	return message.Value, err
}

// readValue reads a google.protobuf.Value: an integral number is an integer.
func readValue(message *structpb.Value, depth int) (any, error) {
	switch kind := message.GetKind().(type) {
	case *structpb.Value_NullValue:
		return nil, nil
	case *structpb.Value_NumberValue:
		if whole, ok := integral(kind.NumberValue); ok {
			return whole, nil
		}
		return kind.NumberValue, nil
	case *structpb.Value_StringValue:
		return kind.StringValue, nil
	case *structpb.Value_BoolValue:
		return kind.BoolValue, nil
	case *structpb.Value_ListValue:
		return readList(kind.ListValue, depth)
	case *structpb.Value_StructValue:
		return readStruct(kind.StructValue, depth)
	}
	return nil, errorf("a google.protobuf.Value has no kind set; null is null_value")
}

func readList(message *structpb.ListValue, depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	items := make([]any, len(message.GetValues()))
	for i, item := range message.GetValues() {
		var err error
		if items[i], err = readValue(item, depth-1); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func readStruct(message *structpb.Struct, depth int) (any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	names := make([]string, 0, len(message.GetFields()))
	for name := range message.GetFields() {
		names = append(names, name)
	}
	slices.Sort(names)
	dict := new(Dict)
	for _, name := range names {
		item, err := readValue(message.Fields[name], depth-1)
		if err != nil {
			return nil, err
		}
		dict.add(name, item)
	}
	return dict, nil
}

// FloatBits returns the bits of a float as they travel: every NaN is the same.
func FloatBits(v float64) uint64 { return bitsOf(v) }
