package toolbridge

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// Invocation is a call of a tool, as the tool sees it.
type Invocation struct {
	// Tool is the tool's name.
	Tool string
	// RequestID is the id of the call, as in the hub's log: the caller's, or one that the hub has made.
	RequestID string
	// Metadata is what the caller passed to the tool, such as trace ids.
	Metadata map[string]string
	// Principal is on whose behalf the tool is called; nil if the hub does not authenticate, or calls it itself.
	Principal *Principal
	// Via is how the call came from there, such as "agent:planner", "tool:report"; the last one has made it.
	Via []string

	served  *conn.Served
	session *Session
	// send sends an event; nil if the caller takes none.
	send func(*pb.LinkEvent)
}

func (i *Invocation) tell(event *pb.LinkEvent) {
	if i.send != nil {
		i.send(event)
	}
}

type invocationKey struct{}

// FromContext returns the call that a tool runs for. It panics if ctx is not that of a tool, or derived from it.
func FromContext(ctx context.Context) *Invocation {
	invocation, ok := ctx.Value(invocationKey{}).(*Invocation)
	if !ok {
		panic("toolbridge.FromContext: this is not the context of a tool")
	}
	return invocation
}

// newInvocation returns a call of the hub as its tool sees it; it fails if what the hub says of its caller cannot be read.
func newInvocation(served *conn.Served, tool, requestID, sessionID string, metadata map[string]string) (*Invocation, error) {
	principal, via, err := callerOf(served.Metadata)
	return &Invocation{
		Tool: tool, RequestID: requestID, Metadata: metadata, Principal: principal, Via: via,
		served: served, session: sessionOf(served, sessionID, metadata),
	}, err
}

// Session returns the session of the call. What is called through it belongs to the call: it ends with it, and shares
// its deadline and its place among the session's calls.
func (i *Invocation) Session() *Session { return i.session }

// Progress tells a caller that listens (OnEvent) how far the tool is. total is 0 if it is not known.
func (i *Invocation) Progress(current, total float64, message string) {
	i.tell(&pb.LinkEvent{Kind: &pb.LinkEvent_Progress{Progress: &pb.Progress{
		Current: current, Total: total, Message: validText(message),
	}}})
}

// Log sends a caller that listens (OnEvent) a log line, with fields as key-value pairs, as slog takes them.
func (i *Invocation) Log(level slog.Level, message string, args ...any) {
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.Add(args...)
	fields := make(map[string]string, record.NumAttrs())
	record.Attrs(func(attr slog.Attr) bool {
		fields[validText(attr.Key)] = validText(attr.Value.String())
		return true
	})
	i.tell(&pb.LinkEvent{Kind: &pb.LinkEvent_Log{Log: &pb.LogRecord{
		Level: levelName(level), Logger: i.Tool, Message: validText(message), Fields: fields, Timestamp: timestamppb.New(record.Time),
	}}})
}

// TimeLeft returns how long the call may still take; it is the largest duration if it has no deadline.
func TimeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64
	}
	return time.Until(deadline)
}

// nestedCaller makes the calls of a tool, over the link of its own call.
type nestedCaller struct {
	conn     *conn.Conn
	metadata map[string]string
}

func newNestedCaller(served *conn.Served) *nestedCaller {
	return &nestedCaller{served.Conn(), map[string]string{link.OriginKey: strconv.FormatUint(served.ID(), 10)}}
}

func (n *nestedCaller) Call(ctx context.Context, request *conn.Request) ([]byte, error) {
	return n.conn.Call(ctx, n.nested(request))
}

func (n *nestedCaller) Stream(ctx context.Context, request *conn.Request) (*conn.Messages, error) {
	return n.conn.Stream(ctx, n.nested(request))
}

func (n *nestedCaller) nested(request *conn.Request) *conn.Request {
	nested := *request
	nested.Metadata = n.metadata
	return &nested
}
