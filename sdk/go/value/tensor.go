package value

import (
	"math"
	"regexp"
	"strconv"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Tensor is an array of NumPy.
type Tensor struct {
	// DType is NumPy's dtype.str, such as "<f8".
	DType string
	// Shape has the size of each dimension; empty for an array without dimensions.
	Shape []int
	// Data has the items in C order.
	Data []byte
}

// Scalar is a scalar of NumPy.
type Scalar struct {
	// DType and Data are as in Tensor.
	DType string
	Data  []byte
}

const (
	maxDimensions = 64
	maxItems      = 10_000_000
)

// What is plain for NumPy: numbers, truth values, dates, differences, texts and bytes of a fixed size.
var plainDType = regexp.MustCompile(`^[<>|=]([biufcmMSUV])([0-9]{0,9})(\[[0-9]{0,9}(generic|Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?$`)

var sizesOfKind = map[string][]int{
	"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8, 16}, "c": {8, 16, 32}, "m": {8}, "M": {8},
}

// itemSize returns the bytes of one item.
func itemSize(dtype string) (int, error) {
	parts := plainDType.FindStringSubmatch(dtype)
	if parts == nil {
		return 0, errorf("%.40q is not a plain dtype of NumPy, such as '<f8'", dtype)
	}
	kind, size := parts[1], 0
	if parts[2] != "" {
		size, _ = strconv.Atoi(parts[2])
	}
	if parts[3] != "" && kind != "m" && kind != "M" {
		return 0, errorf("%.40q is not a plain dtype of NumPy, such as '<M8[D]'", dtype)
	}
	sizes, isFixed := sizesOfKind[kind]
	if !isFixed {
		if kind == "U" {
			size *= 4
		}
		return size, nil
	}
	for _, known := range sizes {
		if known == size {
			return size, nil
		}
	}
	return 0, errorf("%.40q is not a dtype of NumPy, such as '<f8'", dtype)
}

func checkTensor(dtype string, shape []int, data []byte) error {
	if len(shape) > maxDimensions {
		return errorf("a tensor has %d dimensions; NumPy arrays have at most %d", len(shape), maxDimensions)
	}
	size, err := itemSize(dtype)
	if err != nil {
		return err
	}
	items := 1
	for _, length := range shape {
		if length < 0 {
			return errorf("a tensor has the shape %v; no dimension may be negative", shape)
		}
		if length != 0 && items > math.MaxInt/length {
			return errorf("a tensor has the shape %v, which is too large", shape)
		}
		items *= length
	}
	if (size != 0 && items > math.MaxInt/size) || items*size != len(data) || (size == 0 && items > maxItems) {
		return errorf("a tensor of dtype %s and shape %v does not have %d bytes", dtype, shape, len(data))
	}
	return nil
}

func readTensor(message *pb.Tensor) (Tensor, error) {
	shape := make([]int, len(message.Shape))
	for i, length := range message.Shape {
		shape[i] = int(length)
	}
	return Tensor{DType: message.Dtype, Shape: shape, Data: message.Data}, checkTensor(message.Dtype, shape, message.Data)
}

func (t Tensor) message() *pb.Tensor {
	shape := make([]int64, len(t.Shape))
	for i, length := range t.Shape {
		shape[i] = int64(length)
	}
	return &pb.Tensor{Dtype: t.DType, Shape: shape, Data: t.Data}
}
