package toolbridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

const (
	streamTimeout = 5 * time.Minute
	// maxStack bytes of a stack trace are sent.
	maxStack = 16 << 10
	// maxCollected values of a stream become one result; more do not fit into a message.
	maxCollected = 5 << 20
)

// serve runs a call of the hub.
func (w *Worker) serve(served *conn.Served) {
	defer served.Release()
	isOver := false
	defer func() {
		if !isOver {
			served.End(statusOf(&Error{Type: "Error", Message: "the tool has ended its goroutine", Origin: originTool}))
		}
	}()
	switch served.Method {
	case "ExecuteTool":
		w.execute(served)
	case "StreamTool":
		w.stream(served)
	default:
		message := fmt.Sprintf("this worker does not offer %.100s", served.Method)
		served.End(statusOf(&Error{Type: ErrUnimplemented.Type, Message: message, Origin: originBridge}))
	}
	isOver = true
}

func statusOf(err *Error) *pb.LinkStatus {
	return &pb.LinkStatus{Code: int32(err.code()), Message: validText(err.Message), Error: err.info()}
}

// find returns a tool by its id.
func (w *Worker) find(id string) (*Definition, error) {
	if tool := w.tools[id]; tool != nil {
		return tool, nil
	}
	return nil, &Error{Type: ErrToolNotFound.Type, Message: fmt.Sprintf("this worker has no tool %.100q", id), Origin: originBridge}
}

// execute runs a unary call.
func (w *Worker) execute(served *conn.Served) {
	began := time.Now()
	request := new(pb.ToolCallRequest)
	if err := proto.Unmarshal(served.Payload, request); err != nil {
		served.End(statusOf(&Error{Type: ErrSerialization.Type, Message: fmt.Sprintf("the request cannot be read: %v", err), Origin: originBridge}))
		return
	}
	answer := func(result *anypb.Any, err error) {
		response := &pb.ToolCallResponse{Success: err == nil, Result: result, RequestId: request.RequestId, Metrics: metricsOf(began)}
		if err != nil {
			response.Error = errorFrom(err).info()
		}
		w.reply(served, response)
	}
	ctx, stop := deadlineOf(served, conn.CallTimeout)
	defer stop()
	// A tool that does not heed its context is answered for.
	stopTimer := context.AfterFunc(ctx, func() {
		if end := endOf(ctx, request.ToolId, began); end != nil {
			answer(nil, end)
		}
	})
	defer stopTimer()
	id := cmp.Or(request.RequestId, served.RequestID())
	invocation, err := newInvocation(served, request.ToolId, id, request.SessionId, request.Context)
	if err != nil {
		answer(nil, err)
		return
	}
	values, err := w.collect(context.WithValue(ctx, invocationKey{}, invocation), request)
	if end := endOf(ctx, request.ToolId, began); err != nil && end != nil {
		err = end
	}
	answer(values, err)
}

var errTooMany = &Error{Type: ErrMessageTooLarge.Type, Origin: originBridge, Message: fmt.Sprintf(
	"message too large: more than %d values do not fit into one; read the stream", maxCollected)}

// collect runs a tool and returns its result; that of a streaming tool is the list of its values.
func (w *Worker) collect(ctx context.Context, request *pb.ToolCallRequest) (packed *anypb.Any, err error) {
	defer recovered(&err)
	tool, err := w.find(request.ToolId)
	if err != nil {
		return nil, err
	}
	in, err := tool.bind(request.Args, request.Kwargs)
	if err != nil {
		return nil, err
	}
	items, isFull := []any{}, false
	err = tool.run(ctx, in, func(item any) error {
		if isFull = len(items) == maxCollected; isFull {
			return errTooMany
		}
		items = append(items, item)
		return ctx.Err()
	})
	switch {
	case err != nil && isFull:
		return nil, errTooMany
	case err != nil:
		return nil, raised(err)
	}
	var result any = items
	if tool.spec.Type != pb.ToolType_STREAMING {
		result = items[0]
	}
	packed, err = value.Encode(result)
	if err != nil {
		return nil, unwritable("the result of "+request.ToolId, err)
	}
	return packed, nil
}

func (w *Worker) reply(served *conn.Served, response *pb.ToolCallResponse) {
	payload, err := proto.Marshal(response)
	if err == nil {
		err = served.Reply(payload)
	}
	if err != nil {
		served.End(statusOf(errorFrom(err)))
	}
}

// stream runs a streaming call: a chunk for each value, then one complete or error.
func (w *Worker) stream(served *conn.Served) {
	began := time.Now()
	request := new(pb.ToolStreamRequest)
	if err := proto.Unmarshal(served.Payload, request); err != nil {
		served.End(statusOf(&Error{Type: ErrSerialization.Type, Message: fmt.Sprintf("the request cannot be read: %v", err), Origin: originBridge}))
		return
	}
	request.StreamId = cmp.Or(request.StreamId, served.RequestID(), newID())
	ctx, stop := deadlineOf(served, streamTimeout)
	defer stop()
	out := &chunks{served: served, id: request.StreamId, began: began}
	stopTimer := context.AfterFunc(ctx, func() {
		if end := endOf(ctx, request.ToolId, began); end != nil {
			out.end(end)
		}
	})
	defer stopTimer()
	invocation, err := newInvocation(served, request.ToolId, request.StreamId, request.SessionId, request.Context)
	if err != nil {
		out.end(err)
		return
	}
	if request.GetConfig().GetIncludeEvents() {
		invocation.send = func(event *pb.LinkEvent) {
			// One that cannot be sent belongs to a call that has ended.
			_ = out.send(&pb.ToolStreamChunk{Content: &pb.ToolStreamChunk_Metadata{Metadata: metadataOf(event)}})
		}
	}
	err = w.runStream(context.WithValue(ctx, invocationKey{}, invocation), request, out)
	if end := endOf(ctx, request.ToolId, began); err != nil && end != nil {
		err = end
	}
	out.end(err)
}

func (w *Worker) runStream(ctx context.Context, request *pb.ToolStreamRequest, out *chunks) (err error) {
	defer recovered(&err)
	tool, err := w.find(request.ToolId)
	if err != nil {
		return err
	}
	in, err := tool.bind(request.Args, request.Kwargs)
	if err != nil {
		return err
	}
	return raised(tool.run(ctx, in, func(item any) error {
		packed, err := value.Encode(item)
		if err != nil {
			return unwritable("a value of "+request.ToolId, err)
		}
		return out.send(&pb.ToolStreamChunk{Content: &pb.ToolStreamChunk_Data{Data: packed}})
	}))
}

// sessionOf returns the session of a served call, whose calls are nested in it.
func sessionOf(served *conn.Served, id string, metadata map[string]string) *Session {
	return &Session{id: id, caller: newNestedCaller(served), options: callOptions{metadata: metadata}}
}

func metricsOf(began time.Time) *pb.ExecutionMetrics {
	took := time.Since(began)
	return &pb.ExecutionMetrics{DurationMs: int64((took + time.Millisecond - 1) / time.Millisecond), DurationUs: took.Microseconds()}
}

// endOf returns why a call ended before its tool; nil if it did not, or if nobody waits for its answer.
func endOf(ctx context.Context, tool string, began time.Time) *Error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		var own *Error
		errors.As(context.Cause(ctx), &own)
		return own
	}
	deadline, _ := ctx.Deadline()
	return &Error{
		Type: ErrTimeout.Type, Origin: originBridge, Retryable: true, Details: map[string]string{"started": "true"},
		Message: fmt.Sprintf("%s did not end within its deadline of %.10g s; it had begun, and may have taken effect",
			tool, deadline.Sub(began).Round(time.Millisecond).Seconds()),
	}
}

// ---------------------------------------------------------------------------------------------- what a tool raises

// recovered makes an error of a panic: of a tool, or of the methods of a value that it takes or returns.
func recovered(err *error) {
	if reason := recover(); reason != nil {
		*err = panicked(reason, debug.Stack())
	}
}

func panicked(reason any, stack []byte) *Error {
	name := "panic"
	if cause, ok := reason.(error); ok {
		name = className(cause)
	}
	return &Error{
		Type: name, Message: fmt.Sprint(reason), Stack: string(stack[:min(len(stack), maxStack)]), Origin: originTool,
	}
}

// raised returns the error that a tool returned for the wire.
func raised(err error) error {
	var own *Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &own):
		return &Error{Type: className(err), Message: err.Error(), Origin: originTool}
	case own == nil:
		return &Error{Type: "Error", Origin: originTool, Message: "the tool returned a nil *toolbridge.Error, which is no nil error"}
	}
	copied := *own
	if own.Origin == originBridge || own.Tool != "" {
		// These describe a call that the tool made, not the tool itself.
		copied.Retryable = false
		copied.Details = maps.Clone(own.Details)
		delete(copied.Details, "started")
		delete(copied.Details, "waited_for")
	}
	copied.Origin, copied.Tool = originTool, ""
	return &copied
}

// className returns the name of an error's type; those that only wrap a text or another error have none of their own.
func className(err error) string {
	for current := err; current != nil; current = errors.Unwrap(current) {
		switch name := strings.TrimLeft(reflect.TypeOf(current).String(), "*"); name {
		case "errors.errorString", "fmt.wrapError", "fmt.wrapErrors", "errors.joinError":
		case "runtime.errorString", "runtime.plainError", "runtime.errorAddressString":
			return "RuntimeError"
		default:
			return name[strings.LastIndexByte(name, '.')+1:]
		}
	}
	return "Error"
}

// ------------------------------------------------------------------------------------------------ chunks of a stream

// chunks numbers and sends the chunks of a stream.
type chunks struct {
	served *conn.Served
	id     string
	began  time.Time

	mu             sync.Mutex
	sequence, sent int32
	isOver         bool
}

// send sends a chunk, and waits while too many wait for their reader.
func (c *chunks) send(chunk *pb.ToolStreamChunk) error {
	if err := c.put(chunk); err != nil {
		return err
	}
	return asError(c.served.AwaitRoom())
}

func (c *chunks) put(chunk *pb.ToolStreamChunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return asError(context.Cause(c.served.Context))
	}
	return c.putLocked(chunk)
}

func (c *chunks) putLocked(chunk *pb.ToolStreamChunk) error {
	chunk.StreamId, chunk.Sequence = c.id, c.sequence
	payload, err := proto.Marshal(chunk)
	if err != nil {
		return unwritable("a chunk", err)
	}
	if err := c.served.Chunk(payload); err != nil {
		return asError(err)
	}
	c.sequence++
	if chunk.GetData() != nil {
		c.sent++
	}
	return nil
}

// end ends the stream, with an error unless that is nil. Only the first end counts.
func (c *chunks) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver {
		return
	}
	c.isOver = true
	last := &pb.ToolStreamChunk{Content: &pb.ToolStreamChunk_Complete{Complete: &pb.CompleteSignal{
		TotalChunks: c.sent, Metrics: metricsOf(c.began),
	}}}
	if err != nil {
		last.Content = &pb.ToolStreamChunk_Error{Error: errorFrom(err).info()}
	}
	if err := c.putLocked(last); err != nil {
		c.served.End(statusOf(errorFrom(err)))
		return
	}
	c.served.End(new(pb.LinkStatus))
}
