package value_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

func roundTrip(t *testing.T, v any) any {
	t.Helper()
	packed, err := value.Encode(v)
	if err != nil {
		t.Fatalf("%v cannot be encoded: %v", v, err)
	}
	got, err := value.Decode(packed)
	if err != nil {
		t.Fatalf("%v cannot be decoded: %v", v, err)
	}
	return got
}

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	found, err := time.LoadLocation(name)
	if err != nil {
		t.Skip(err)
	}
	return found
}

func TestEveryFormComesBackAsItWas(t *testing.T) {
	huge, _ := new(big.Int).SetString(strings.Repeat("9", 400), 10)
	berlin := location(t, "Europe/Berlin")
	for _, v := range []any{
		nil, true, int64(-7), int64(math.MinInt64), huge, 3.0, math.Inf(-1), "é", []byte{}, []byte{0, 255},
		[]any{}, []any{int64(1), 1.0, nil, []any{"x"}}, value.Tuple{int64(1), value.Tuple{}}, value.Set{"a"},
		value.FrozenSet{value.FrozenSet{int64(1)}}, value.Date{Year: 2026, Month: 3, Day: 1}, value.TimeOfDay{ISO: "12:30:00+01:00"},
		90 * time.Minute, -time.Microsecond, value.Delta{Days: 999_999_999, Seconds: 86_399}, value.UUID{1, 2},
		value.Decimal("-1E+30"), value.Decimal("NaN"), complex(1, -0.5), value.DateTime{ISO: "2026-03-01T12:30:00"},
		value.Tensor{DType: "<f4", Shape: []int{2}, Data: make([]byte, 8)}, value.Tensor{DType: "<U2", Shape: []int{}, Data: make([]byte, 8)},
		value.Scalar{DType: "<i8", Data: make([]byte, 8)}, value.Typed{TypeURL: "type.googleapis.com/pandas.DataFrame", Value: []byte("x")},
		time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, berlin),
		[]any{time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC).In(berlin)},
	} {
		if got := roundTrip(t, v); !reflect.DeepEqual(got, v) {
			t.Errorf("%#v came back as %#v", v, got)
		}
	}
}

func TestADictKeepsTheOrderAndTheKindOfItsKeys(t *testing.T) {
	sent := value.DictOf("b", int64(1), int64(2), "two", value.Tuple{int64(1)}, nil, []byte("x"), 1.5, nil, true)
	got := roundTrip(t, sent).(*value.Dict)
	var keys []any
	for key := range got.All() {
		keys = append(keys, key)
	}
	if fmt.Sprint(keys) != "[b 2 [1] [120] <nil>]" {
		t.Errorf("the keys are %v", keys)
	}
	if two, found := got.Get(2.0); !found || two != "two" {
		t.Errorf("2.0 finds %v", two)
	}
}

type unit string

type inner struct {
	Hidden  string `json:"-"`
	private int
	Kept    unit `json:"kept"`
}

type outer struct {
	inner
	Optional int            `json:"optional,omitempty"`
	Pointer  *float32       `json:"pointer"`
	Address  netip.Addr     `json:"address"`
	Counts   map[int]uint64 `json:"counts"`
	Array    [2]int8        `json:"array"`
	Any      any            `json:"any"`
}

func TestStructsMapsAndTextsAreEncodedAsTheirFields(t *testing.T) {
	half := float32(0.5)
	sent := outer{
		inner: inner{Hidden: "secret", private: 1, Kept: "km"}, Pointer: &half, Address: netip.MustParseAddr("::1"),
		Counts: map[int]uint64{2: 1, 1: math.MaxUint64}, Array: [2]int8{-1, 1}, Any: []string{"x"},
	}
	packed, err := value.Encode(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got outer
	if err := value.DecodeInto(packed, &got); err != nil {
		t.Fatal(err)
	}
	want := sent
	want.Hidden, want.private, want.Any = "", 0, []any{"x"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	dict := roundTrip(t, sent).(*value.Dict)
	if _, found := dict.Get("optional"); found || dict.Len() != 6 {
		t.Errorf("the dict has %d keys", dict.Len())
	}
}

func TestConversionsThatWouldLoseSomethingAreRefused(t *testing.T) {
	for name, convert := range map[string]func() error{
		"a float as an int":          func() error { _, err := value.As[int](1.5); return err },
		"an int beyond its type":     func() error { _, err := value.As[int8](int64(200)); return err },
		"a negative int as unsigned": func() error { _, err := value.As[uint](int64(-1)); return err },
		"a text as an int":           func() error { _, err := value.As[int]("1"); return err },
		"a bool as an int":           func() error { _, err := value.As[int](true); return err },
		"null as a text":             func() error { _, err := value.As[string](nil); return err },
		"a datetime without a zone":  func() error { _, err := value.As[time.Time](value.DateTime{ISO: "2026-03-01T12:30:00"}); return err },
		"too many items":             func() error { _, err := value.As[[1]int]([]any{int64(1), int64(2)}); return err },
	} {
		var own *value.Error
		if err := convert(); !errors.As(err, &own) {
			t.Errorf("%s gave %v", name, err)
		}
	}
	_, err := value.As[map[string][]int](value.DictOf("a", []any{int64(1), "x"}))
	if err == nil || err.Error() != "a[1]: a text cannot be stored in int" {
		t.Errorf("the error is %v", err)
	}
}

func TestConversionsThatLoseNothingAreMade(t *testing.T) {
	if got, err := value.As[int](5.0); err != nil || got != 5 {
		t.Errorf("5.0 as an int is %v, %v", got, err)
	}
	if got, err := value.As[float64](int64(5)); err != nil || got != 5 {
		t.Errorf("5 as a float is %v, %v", got, err)
	}
	if got, err := value.As[*int](nil); err != nil || got != nil {
		t.Errorf("null as a pointer is %v, %v", got, err)
	}
	if got, err := value.As[[]int](value.Set{int64(1)}); err != nil || len(got) != 1 {
		t.Errorf("a set as a slice is %v, %v", got, err)
	}
	if got, err := value.As[big.Int](int64(7)); err != nil || got.Int64() != 7 {
		t.Errorf("7 as a big.Int is %v, %v", got, err)
	}
	if got, err := value.As[time.Time]("2026-03-01T12:30:00+01:00"); err != nil || got.UTC().Hour() != 11 {
		t.Errorf("a text as a time is %v, %v", got, err)
	}
}

func TestWhatCannotTravelIsRefused(t *testing.T) {
	endless := []any{nil}
	endless[0] = endless
	type self *self
	var loop self
	loop = &loop
	for _, v := range []any{
		endless, loop, func() {}, make(chan int), "\xff", []string{"\xff"}, struct{ private int }{1}, value.Set{1, 1.0},
		value.Decimal("ten"), value.DateTime{ISO: "today"}, value.Tensor{DType: "<f8", Shape: []int{2}, Data: make([]byte, 8)},
		new(big.Int).Lsh(big.NewInt(1), 400_000), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		var own *value.Error
		if _, err := value.Encode(v); !errors.As(err, &own) {
			t.Errorf("a %T gave %v", v, err)
		}
	}
}

func TestHundredLevelsAreTakenAndNoMore(t *testing.T) {
	nested := func(levels int) any {
		var v any = int64(1)
		for range levels {
			v = value.Tuple{v}
		}
		return v
	}
	if got := roundTrip(t, nested(value.MaxDepth)); !reflect.DeepEqual(got, nested(value.MaxDepth)) {
		t.Error("100 levels came back otherwise")
	}
	if _, err := value.Encode(nested(value.MaxDepth + 1)); err == nil {
		t.Error("101 levels were encoded")
	}
}

func TestADecimalIsExact(t *testing.T) {
	if got, ok := value.Decimal("1.10").Rat(); !ok || got.RatString() != "11/10" {
		t.Errorf("1.10 is %v", got)
	}
	for _, text := range []value.Decimal{"NaN", "-Infinity", "1E+999999", "ten"} {
		if got, ok := text.Rat(); ok {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range []any{nil, 1, 1.5, "x", []any{1, "x"}, value.Tuple{1}, map[string]any{"a": []int{1}}, time.Now(), value.UUID{}} {
		packed, err := value.Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed.TypeUrl, packed.Value)
	}
	f.Fuzz(func(t *testing.T, typeURL string, data []byte) {
		v, err := value.Decode(&anypb.Any{TypeUrl: typeURL, Value: data})
		if err != nil {
			return
		}
		// What was read can be written.
		if _, err := value.Encode(v); err != nil {
			t.Errorf("%#v cannot be encoded: %v", v, err)
		}
	})
}

func TestAnotherLanguagesDatetimesKeepWhatGoCannotHold(t *testing.T) {
	for _, sent := range []*pb.RichDateTime{
		{Iso: "2026-03-01T12:30:00", Fold: true},
		{Iso: "2026-03-29T02:30:00+01:00", Zone: "Europe/Berlin"},
		{Iso: "2026-03-01T12:30:00+00:00", Zone: "UTC"},
	} {
		packed, err := anypb.New(&pb.RichValue{Kind: &pb.RichValue_Datetime{Datetime: sent}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := value.Decode(packed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := value.Encode(got)
		if err != nil || !proto.Equal(packed, again) {
			t.Errorf("%v came back as %v, %v", sent, got, err)
		}
	}
}

func Example() {
	packed, err := value.Encode(map[string]any{"name": "Oslo", "population": 717_710})
	if err != nil {
		panic(err)
	}
	var city struct {
		Name       string `json:"name"`
		Population int    `json:"population"`
	}
	if err := value.DecodeInto(packed, &city); err != nil {
		panic(err)
	}
	fmt.Println(city.Name, city.Population)
	// Output: Oslo 717710
}

func ExampleDict() {
	dict := value.DictOf("b", 1, "a", 2)
	dict.Set("c", 3)
	for key, item := range dict.All() {
		fmt.Println(key, item)
	}
	// Output:
	// b 1
	// a 2
	// c 3
}
