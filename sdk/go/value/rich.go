package value

import (
	"math/big"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// levelsOfMessage is how many levels of containers one RichValue holds. A level takes two messages, and some languages
// read only a hundred of them within each other; so the next level goes into an Any, which is read by itself.
const levelsOfMessage = 32

func packed(typeURL string, message proto.Message) (*anypb.Any, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return nil, errorf("the value cannot be written: %v", err)
	}
	return &anypb.Any{TypeUrl: typeURL, Value: data}, nil
}

// richOf writes a value in its form as a RichValue.
func richOf(plain any, level int) (*pb.RichValue, error) {
	if level > 0 && level%levelsOfMessage == 0 && isContainer(plain) {
		inner, err := containerOf(plain, level)
		if err != nil {
			return nil, err
		}
		return richAny(packed(richURL, inner))
	}
	switch plain := plain.(type) {
	case nil:
		return &pb.RichValue{Kind: &pb.RichValue_Null{Null: true}}, nil
	case bool:
		return &pb.RichValue{Kind: &pb.RichValue_Boolean{Boolean: plain}}, nil
	case int64:
		return &pb.RichValue{Kind: &pb.RichValue_Integer{Integer: plain}}, nil
	case *big.Int:
		return &pb.RichValue{Kind: &pb.RichValue_BigInteger{BigInteger: plain.String()}}, nil
	case float64:
		return &pb.RichValue{Kind: &pb.RichValue_Number{Number: plain}}, nil
	case string:
		return &pb.RichValue{Kind: &pb.RichValue_Text{Text: plain}}, nil
	case []byte:
		return &pb.RichValue{Kind: &pb.RichValue_Binary{Binary: plain}}, nil
	case Date:
		return &pb.RichValue{Kind: &pb.RichValue_Date{Date: plain.String()}}, nil
	case UUID:
		return &pb.RichValue{Kind: &pb.RichValue_Uuid{Uuid: plain.String()}}, nil
	case complex128:
		return &pb.RichValue{Kind: &pb.RichValue_Complex{Complex: &pb.RichComplex{Real: real(plain), Imag: imag(plain)}}}, nil
	case time.Duration:
		return richDelta(deltaOf(plain)), nil
	case Delta:
		return richDelta(plain), nil
	case Decimal:
		if !isDecimal(string(plain)) {
			return nil, errorf("%.40q is not a decimal number", string(plain))
		}
		return &pb.RichValue{Kind: &pb.RichValue_Decimal{Decimal: string(plain)}}, nil
	case time.Time:
		written, err := writeTime(plain)
		if err != nil {
			return nil, err
		}
		return richDateTime(written)
	case DateTime:
		if _, err := parseDateTime(plain.ISO); err != nil {
			return nil, err
		}
		return richDateTime(plain)
	case TimeOfDay:
		if _, err := parseTime(plain.ISO); err != nil {
			return nil, err
		}
		return &pb.RichValue{Kind: &pb.RichValue_Time{Time: DateTime(plain).message()}}, nil
	case Tensor:
		if err := checkTensor(plain.DType, plain.Shape, plain.Data); err != nil {
			return nil, err
		}
		return &pb.RichValue{Kind: &pb.RichValue_Tensor{Tensor: plain.message()}}, nil
	case Scalar, Typed:
		return richAny(encodePlain(plain))
	}
	return containerOf(plain, level)
}

func richAny(content *anypb.Any, err error) (*pb.RichValue, error) {
	if err != nil {
		return nil, err
	}
	return &pb.RichValue{Kind: &pb.RichValue_Any{Any: content}}, nil
}

func richDelta(d Delta) *pb.RichValue {
	return &pb.RichValue{Kind: &pb.RichValue_Timedelta{Timedelta: &pb.RichDelta{
		Days: int32(d.Days), Seconds: int32(d.Seconds), Microseconds: int32(d.Microseconds),
	}}}
}

func richDateTime(d DateTime) (*pb.RichValue, error) {
	return &pb.RichValue{Kind: &pb.RichValue_Datetime{Datetime: d.message()}}, nil
}

func (d DateTime) message() *pb.RichDateTime {
	return &pb.RichDateTime{Iso: d.ISO, Zone: d.Zone, Fold: d.Fold, OffsetName: d.OffsetName}
}

func isContainer(plain any) bool {
	switch plain.(type) {
	case []any, Tuple, Set, FrozenSet, *Dict:
		return true
	}
	return false
}

func containerOf(plain any, level int) (*pb.RichValue, error) {
	if dict, ok := plain.(*Dict); ok {
		keys, err := listOf(dict.keys, level)
		if err != nil {
			return nil, err
		}
		values, err := listOf(dict.values, level)
		if err != nil {
			return nil, err
		}
		return &pb.RichValue{Kind: &pb.RichValue_Dict{Dict: &pb.RichDict{Keys: keys.Items, Values: values.Items}}}, nil
	}
	var items []any
	switch plain := plain.(type) {
	case []any:
		items = plain
	case Tuple:
		items = plain
	case Set:
		items = plain
	case FrozenSet:
		items = plain
	default:
		return nil, errorf("a %T has no form on the wire; send plain data", plain)
	}
	list, err := listOf(items, level)
	if err != nil {
		return nil, err
	}
	switch plain.(type) {
	case Tuple:
		return &pb.RichValue{Kind: &pb.RichValue_Tuple{Tuple: list}}, nil
	case Set:
		return &pb.RichValue{Kind: &pb.RichValue_Set{Set: list}}, nil
	case FrozenSet:
		return &pb.RichValue{Kind: &pb.RichValue_Frozenset{Frozenset: list}}, nil
	}
	return &pb.RichValue{Kind: &pb.RichValue_List{List: list}}, nil
}

func listOf(items []any, level int) (*pb.RichList, error) {
	list := &pb.RichList{Items: make([]*pb.RichValue, len(items))}
	for i, item := range items {
		var err error
		if list.Items[i], err = richOf(item, level+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// ------------------------------------------------------------------------------------------------------- reading

// readRich reads a RichValue with at most depth levels of containers.
func readRich(message *pb.RichValue, depth int) (any, error) {
	switch kind := message.GetKind().(type) {
	case *pb.RichValue_Null:
		return nil, nil
	case *pb.RichValue_Boolean:
		return kind.Boolean, nil
	case *pb.RichValue_Integer:
		return kind.Integer, nil
	case *pb.RichValue_BigInteger:
		return parseInteger(kind.BigInteger)
	case *pb.RichValue_Number:
		return kind.Number, nil
	case *pb.RichValue_Text:
		return kind.Text, nil
	case *pb.RichValue_Binary:
		return kind.Binary, nil
	case *pb.RichValue_List:
		return readItems(kind.List.GetItems(), depth)
	case *pb.RichValue_Tuple:
		items, err := readItems(kind.Tuple.GetItems(), depth)
		return Tuple(items), err
	case *pb.RichValue_Set:
		items, err := readMembers(kind.Set.GetItems(), depth)
		return Set(items), err
	case *pb.RichValue_Frozenset:
		items, err := readMembers(kind.Frozenset.GetItems(), depth)
		return FrozenSet(items), err
	case *pb.RichValue_Dict:
		return readDict(kind.Dict, depth)
	case *pb.RichValue_Any:
		return readAny(kind.Any, depth)
	}
	return readRichLeaf(message)
}

func readRichLeaf(message *pb.RichValue) (any, error) {
	switch kind := message.GetKind().(type) {
	case *pb.RichValue_Datetime:
		return readDateTime(kind.Datetime)
	case *pb.RichValue_Date:
		return parseDate(kind.Date)
	case *pb.RichValue_Time:
		return readTimeOfDay(kind.Time)
	case *pb.RichValue_Timedelta:
		return readDelta(kind.Timedelta)
	case *pb.RichValue_Uuid:
		return ParseUUID(kind.Uuid)
	case *pb.RichValue_Decimal:
		if len(kind.Decimal) > maxDigits || !isDecimal(kind.Decimal) {
			return nil, errorf("%.40q is not a decimal number", kind.Decimal)
		}
		return Decimal(kind.Decimal), nil
	case *pb.RichValue_Complex:
		return complex(kind.Complex.GetReal(), kind.Complex.GetImag()), nil
	case *pb.RichValue_Tensor:
		return readTensor(kind.Tensor)
	}
	return nil, errorf("a RichValue has no kind set that is known here; null is null = true")
}

func readItems(messages []*pb.RichValue, depth int) ([]any, error) {
	if depth < 1 {
		return nil, tooDeep()
	}
	items := make([]any, len(messages))
	for i, message := range messages {
		var err error
		if items[i], err = readRich(message, depth-1); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func readMembers(messages []*pb.RichValue, depth int) ([]any, error) {
	items, err := readItems(messages, depth)
	if err == nil && !unique(items) {
		return nil, errorf("a set came with a duplicate member")
	}
	return items, err
}

func readDict(message *pb.RichDict, depth int) (any, error) {
	keys, err := readItems(message.GetKeys(), depth)
	if err != nil {
		return nil, err
	}
	values, err := readItems(message.GetValues(), depth)
	if err != nil {
		return nil, err
	}
	if len(keys) != len(values) {
		return nil, errorf("a dict came with %d keys and %d values", len(keys), len(values))
	}
	if !unique(keys) {
		return nil, errorf("a dict came with a duplicate key")
	}
	return &Dict{keys: keys, values: values}, nil
}

// readAny reads what is in an Any of a RichValue.
func readAny(content *anypb.Any, depth int) (any, error) {
	if nameOf(content.GetTypeUrl()) != "dspex.bridge.RichValue" {
		return decode(content, depth)
	}
	inner := new(pb.RichValue)
	if err := proto.Unmarshal(content.GetValue(), inner); err != nil {
		return nil, malformed(content.GetTypeUrl(), err)
	}
	// Else an endless chain of them could be nested without counting levels.
	if _, ok := inner.GetKind().(*pb.RichValue_Any); ok {
		return nil, errorf("a RichValue in an Any holds nothing but another Any; send the value itself")
	}
	return readRich(inner, depth)
}
