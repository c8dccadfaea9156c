package toolbridge

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Args are arguments by name.
type Args map[string]any

type callOptions struct {
	idempotencyKey string
	metadata       map[string]string
	onEvent        func(Event)
}

// CallOption is an option of Session.With.
type CallOption func(*callOptions)

// IdempotencyKey makes the hub run a call only once: a later call with the same key and arguments gets the answer of the
// first.
func IdempotencyKey(key string) CallOption { return func(o *callOptions) { o.idempotencyKey = key } }

// CallMetadata is passed to the tools unchanged, such as trace ids.
func CallMetadata(metadata map[string]string) CallOption {
	return func(o *callOptions) { o.metadata = metadata }
}

// OnEvent is called with the progress and the log records of a tool, in order, between its values. Call a tool that
// yields several values by Stream then.
func OnEvent(f func(Event)) CallOption { return func(o *callOptions) { o.onEvent = f } }

// With returns the same session, whose calls have further options.
func (s *Session) With(options ...CallOption) *Session {
	copied := *s
	for _, option := range options {
		option(&copied.options)
	}
	return &copied
}

// arguments encodes the arguments of a call: those of type Args are by name.
func arguments(args []any) ([]*anypb.Any, map[string]*anypb.Any, error) {
	var positional []*anypb.Any
	var named map[string]*anypb.Any
	for i, arg := range args {
		names, ok := arg.(Args)
		if !ok {
			packed, err := value.Encode(arg)
			if err != nil {
				return nil, nil, unwritable(fmt.Sprintf("argument %d", i+1), err)
			}
			positional = append(positional, packed)
			continue
		}
		if named == nil {
			named = make(map[string]*anypb.Any, len(names))
		}
		for name, content := range names {
			packed, err := value.Encode(content)
			if err != nil {
				return nil, nil, unwritable(fmt.Sprintf("argument %q", name), err)
			}
			named[name] = packed
		}
	}
	return positional, named, nil
}

// Call calls a tool with positional arguments, or with Args by name, and returns its result in the form of package
// value. The deadline of the context is that of the call; without one the tool's, the session's or the hub's holds.
//
// The error is an *Error.
func (s *Session) Call(ctx context.Context, tool string, args ...any) (any, error) {
	return Call[any](ctx, s, tool, args...)
}

// Call calls a tool, as Session.Call does, and returns its result as a T; see value.Convert.
func Call[T any](ctx context.Context, s *Session, tool string, args ...any) (T, error) {
	var result T
	content, err := s.call(ctx, tool, args)
	if err == nil {
		err = value.DecodeInto(content, &result)
	}
	if err != nil {
		return result, ofTool(err, tool)
	}
	return result, nil
}

func (s *Session) call(ctx context.Context, tool string, args []any) (*anypb.Any, error) {
	if s.options.onEvent != nil {
		return s.callWithEvents(ctx, tool, args)
	}
	positional, named, err := arguments(args)
	if err != nil {
		return nil, err
	}
	request := &pb.ToolCallRequest{
		SessionId: s.id, ToolId: tool, Args: positional, Kwargs: named, Context: s.options.metadata,
		IdempotencyKey: s.options.idempotencyKey,
	}
	response := new(pb.ToolCallResponse)
	if err := unary(ctx, s.asking(tool), "ExecuteTool", request, response); err != nil {
		return nil, err
	}
	if !response.Success || response.Result == nil {
		return nil, protocolError("the answer has neither a result nor an error")
	}
	return response.Result, nil
}

// callWithEvents makes a call as a stream, which alone has events.
func (s *Session) callWithEvents(ctx context.Context, tool string, args []any) (*anypb.Any, error) {
	if s.options.idempotencyKey != "" {
		return nil, invalid("a call with OnEvent is sent as a stream, which takes no IdempotencyKey; leave one of them out")
	}
	var results []*anypb.Any
	err := s.stream(ctx, tool, args, func(content *anypb.Any) (bool, error) {
		results = append(results, content)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, invalid("the tool sent %d values; read them with Stream", len(results))
	}
	return results[0], nil
}

// Stream calls a tool and iterates over what it yields; a tool that returns a single value yields that. Breaking the
// loop, or the end of the context, cancels the tool. After an error nothing follows.
func (s *Session) Stream(ctx context.Context, tool string, args ...any) iter.Seq2[any, error] {
	return Stream[any](ctx, s, tool, args...)
}

// Stream streams a tool, as Session.Stream does; each value is a T.
func Stream[T any](ctx context.Context, s *Session, tool string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := s.stream(ctx, tool, args, func(content *anypb.Any) (bool, error) {
			var item T
			if err := value.DecodeInto(content, &item); err != nil {
				return false, err
			}
			return yield(item, nil), nil
		})
		if err != nil {
			var none T
			yield(none, ofTool(err, tool))
		}
	}
}

// stream calls take with each value until that returns false.
func (s *Session) stream(ctx context.Context, tool string, args []any, take func(*anypb.Any) (bool, error)) error {
	positional, named, err := arguments(args)
	if err != nil {
		return err
	}
	request := &pb.ToolStreamRequest{SessionId: s.id, ToolId: tool, Args: positional, Kwargs: named, Context: s.options.metadata}
	if s.options.onEvent != nil {
		request.Config = &pb.StreamConfig{IncludeEvents: true}
	}
	if deadline, ok := ctx.Deadline(); ok {
		request.TimeoutMs = int32(min(max(time.Until(deadline).Milliseconds(), 1), 1<<31-1))
	}
	isOver := false
	var due int32
	err = messages(ctx, s.asking(tool), "StreamTool", request, func(data []byte) (bool, error) {
		chunk := new(pb.ToolStreamChunk)
		if err := proto.Unmarshal(data, chunk); err != nil {
			return false, protocolError("a chunk of the stream cannot be read: %v", err)
		}
		if chunk.Sequence != due {
			return false, protocolError("the stream has a gap: chunk %d came where %d was due", chunk.Sequence, due)
		}
		due++
		switch content := chunk.Content.(type) {
		case *pb.ToolStreamChunk_Data:
			return take(content.Data)
		case *pb.ToolStreamChunk_Metadata:
			s.tell(content.Metadata)
		case *pb.ToolStreamChunk_Error:
			return false, errorOf(content.Error)
		case *pb.ToolStreamChunk_Complete:
			isOver = true
		default:
			return false, protocolError("chunk %d of the stream is empty", chunk.Sequence)
		}
		return true, nil
	})
	if err == errLeft {
		return nil
	}
	if err == nil && !isOver {
		return protocolError("the stream ended without its complete chunk")
	}
	return err
}

// errLeft says that the reader of a stream left it.
var errLeft = errors.New("the stream was left")

// messages makes a streaming call, and calls take with each message until that returns false.
func messages(ctx context.Context, caller caller, method string, request proto.Message, take func([]byte) (bool, error)) error {
	payload, err := marshal(request)
	if err != nil {
		return err
	}
	for {
		again, err := readMessages(ctx, caller, &conn.Request{Method: method, Payload: payload}, take)
		if !again {
			return err
		}
	}
}

// readMessages reads one stream; again says that it was lost before it was sent.
func readMessages(ctx context.Context, caller caller, request *conn.Request, take func([]byte) (bool, error)) (again bool, err error) {
	stream, err := caller.Stream(ctx, request)
	if err != nil {
		return false, asError(err)
	}
	defer stream.Close()
	for {
		data, ok, err := stream.Next(ctx)
		switch {
		case conn.IsUnsent(err):
			return true, nil
		case err != nil:
			return false, asError(err)
		case !ok:
			return false, nil
		}
		goOn, err := take(data)
		if err != nil {
			return false, err
		}
		if !goOn {
			return false, errLeft
		}
	}
}
