package toolbridge

import (
	"context"

	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Item is one call of a batch.
type Item struct {
	Tool string
	// Args are positional; those of type Args are by name.
	Args []any
}

// Result is the outcome of one call of a batch.
type Result struct {
	// Err is the call's error, an *Error; nil if it succeeded.
	Err     error
	content *anypb.Any
}

// Value returns the result in the form of package value.
func (r *Result) Value() (any, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	v, err := value.Decode(r.content)
	return v, asError(err)
}

// Into stores the result in the variable that target points to; see value.Convert.
func (r *Result) Into(target any) error {
	if r.Err != nil {
		return r.Err
	}
	return asError(value.DecodeInto(r.content, target))
}

// BatchOption is an option of Session.Batch.
type BatchOption func(*pb.BatchConfig)

// InOrder runs the calls of a batch one after another; by default they run at the same time.
func InOrder() BatchOption { return func(c *pb.BatchConfig) { c.Parallel = false } }

// StopOnError starts no further calls after the first failure; their errors are ErrCancelled.
func StopOnError() BatchOption { return func(c *pb.BatchConfig) { c.StopOnError = true } }

// MaxParallel limits how many calls of a batch run at once; by default as many as the session allows.
func MaxParallel(calls int) BatchOption {
	return func(c *pb.BatchConfig) { c.MaxParallel = int32(calls) }
}

// Batch makes many calls in one request; the hub takes 100. The results have the order of the items. The error is one of
// the whole batch; that of a call is in its result.
func (s *Session) Batch(ctx context.Context, items []Item, options ...BatchOption) ([]Result, error) {
	config := &pb.BatchConfig{Parallel: true}
	for _, option := range options {
		option(config)
	}
	request := &pb.BatchToolCallRequest{SessionId: s.id, BatchId: newID(), Config: config}
	for i, item := range items {
		positional, named, err := arguments(item.Args)
		if err != nil {
			return nil, ofTool(err, item.Tool)
		}
		request.Items = append(request.Items, &pb.ToolCallItem{Index: int32(i), ToolId: item.Tool, Args: positional, Kwargs: named})
	}
	response := new(pb.BatchToolCallResponse)
	if err := unary(ctx, s.asking(""), "BatchExecuteTools", request, response); err != nil {
		return nil, err
	}
	if len(response.Results) != len(items) {
		return nil, protocolError("the batch has %d calls, but %d results came", len(items), len(response.Results))
	}
	results := make([]Result, len(items))
	for i, one := range response.Results {
		switch {
		case one.Success && one.Result != nil:
			results[i].content = one.Result
		case one.Error != nil:
			results[i].Err = ofTool(errorOf(one.Error), items[i].Tool)
		default:
			results[i].Err = protocolError("call %d of the batch has neither a result nor an error", i)
		}
	}
	return results, nil
}
