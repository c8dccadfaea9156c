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

// Session is a session at the hub: it sees tools, and holds variables and agents.
type Session struct {
	id      string
	client  *Client
	caller  caller
	options callOptions
	state   *sessionState
}

// sessionState is what a session needs to be resumed; nil for that of a tool's call.
type sessionState struct {
	request *pb.InitializeSessionRequest
	// When the session began, which shows whether the hub has restarted.
	began     time.Time
	onRenewed func()
}

// SessionOption is an option of Client.Session.
type SessionOption func(*sessionState)

// SessionMetadata is kept with a new session.
func SessionMetadata(metadata map[string]string) SessionOption {
	return func(s *sessionState) { s.request.Metadata = metadata }
}

// MaxConcurrentTools limits how many calls of a new session run at once; further ones wait in order.
func MaxConcurrentTools(calls int) SessionOption {
	return func(s *sessionState) { s.config().MaxConcurrentTools = int32(calls) }
}

// DefaultTimeout is the timeout of calls without a deadline in a new session; by default 30 s.
func DefaultTimeout(timeout time.Duration) SessionOption {
	return func(s *sessionState) { s.config().DefaultTimeoutMs = int32(timeout.Milliseconds()) }
}

// CacheResults keeps the results of idempotent tools in a new session for a time.
func CacheResults() SessionOption {
	return func(s *sessionState) { s.config().EnableCaching = true }
}

// OnRenewed is called when the hub has restarted, and the session was created again, empty.
func OnRenewed(f func()) SessionOption {
	return func(s *sessionState) { s.onRenewed = f }
}

func (s *sessionState) config() *pb.SessionConfig {
	if s.request.Config == nil {
		s.request.Config = new(pb.SessionConfig)
	}
	return s.request.Config
}

// Session creates a session, or attaches to it if it exists. An empty id generates one.
func (c *Client) Session(ctx context.Context, id string, options ...SessionOption) (*Session, error) {
	if id == "" {
		// Generated here, so that a second try after a lost answer finds the same session.
		id = newID()
	}
	state := &sessionState{request: &pb.InitializeSessionRequest{SessionId: id}}
	for _, option := range options {
		option(state)
	}
	s := &Session{id: id, client: c, caller: c.dialer, state: state}
	if err := s.initialize(ctx, c.dialer); err != nil {
		return nil, err
	}
	began, err := s.readBegin(ctx, c.dialer)
	if err != nil {
		return nil, err
	}
	state.began = began
	c.mu.Lock()
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	return s, nil
}

func (s *Session) initialize(ctx context.Context, caller caller) error {
	return unary(ctx, caller, "InitializeSession", s.state.request, new(pb.InitializeSessionResponse))
}

func (s *Session) readBegin(ctx context.Context, caller caller) (time.Time, error) {
	info := new(pb.SessionInfo)
	err := unary(ctx, caller, "GetSessionInfo", &pb.GetSessionInfoRequest{SessionId: s.id}, info)
	return info.CreatedAt.AsTime(), err
}

// rejoin resumes the session over a new link, or creates it again at a hub that does not have it.
func (s *Session) rejoin(ctx context.Context, link *conn.Conn) {
	logger := s.client.config.logger.With("session", s.id, "address", s.client.address)
	found, err := s.readBegin(ctx, link)
	if errors.Is(err, ErrSessionExpired) {
		logger.Warn("the session ended at the hub while the connection was lost")
		return
	}
	if err != nil && !errors.Is(err, ErrSessionNotFound) {
		logger.Warn("the session could not be resumed", "reason", err)
		return
	}
	isNew := err != nil
	if err := s.initialize(ctx, link); err != nil {
		logger.Warn("the session could not be resumed", "reason", err)
		return
	}
	if isNew {
		if found, err = s.readBegin(ctx, link); err != nil {
			return
		}
	}
	if !found.Equal(s.state.began) {
		logger.Warn("the hub has restarted: the session was created again, and what it held is lost")
		s.state.began = found
		if s.state.onRenewed != nil {
			go s.state.onRenewed()
		}
	}
}

// ID returns the session's id.
func (s *Session) ID() string { return s.id }

// End ends the session at the hub once its calls in flight have finished: its variables, agents and own tools are
// removed.
func (s *Session) End(ctx context.Context) error {
	if s.client != nil {
		s.client.forget(s)
	}
	return unary(ctx, s.caller, "CleanupSession", &pb.CleanupSessionRequest{SessionId: s.id}, new(pb.StatusResponse))
}

// ------------------------------------------------------------------------------------------------------------- tools

// ToolInfo describes a tool.
type ToolInfo struct {
	Name        string
	Description string
	// Streaming says that the tool yields values one after another.
	Streaming bool
	// Idempotent says that calling twice has the same effect as calling once.
	Idempotent bool
	Version    string
	// InputSchema and OutputSchema are JSON Schemas, as text.
	InputSchema, OutputSchema string
	Metadata                  map[string]string
}

// maxListings is how often a list of tools that changes while it is read is read again.
const maxListings = 10

// Tools lists the tools that the session sees, by name.
func (s *Session) Tools(ctx context.Context) ([]ToolInfo, error) {
	for listing := 1; ; listing++ {
		tools, err := s.listTools(ctx)
		if err == nil || listing == maxListings || !errors.Is(err, ErrRevisionConflict) {
			return tools, err
		}
	}
}

func (s *Session) listTools(ctx context.Context) ([]ToolInfo, error) {
	var tools []ToolInfo
	request := &pb.GetSessionToolsRequest{SessionId: s.id}
	for {
		page := new(pb.GetSessionToolsResponse)
		if err := unary(ctx, s.caller, "GetSessionTools", request, page); err != nil {
			return nil, err
		}
		for _, spec := range page.Tools {
			tools = append(tools, ToolInfo{
				Name: spec.Name, Description: spec.Description, Streaming: spec.Type == pb.ToolType_STREAMING,
				Idempotent: spec.Idempotent, Version: spec.Version, InputSchema: spec.InputSchema,
				OutputSchema: spec.OutputSchema, Metadata: spec.Metadata,
			})
		}
		if page.NextPageToken == "" {
			return tools, nil
		}
		request.PageToken = page.NextPageToken
	}
}

// ------------------------------------------------------------------------------------------------------------- calls

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
	if err := unary(ctx, s.caller, "ExecuteTool", request, response); err != nil {
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
	err = messages(ctx, s.caller, "StreamTool", request, func(data []byte) (bool, error) {
		chunk := new(pb.ToolStreamChunk)
		if err := proto.Unmarshal(data, chunk); err != nil {
			return false, protocolError("a chunk of the stream cannot be read: %v", err)
		}
		switch content := chunk.Content.(type) {
		case *pb.ToolStreamChunk_Data:
			return take(content.Data)
		case *pb.ToolStreamChunk_Metadata:
			s.tell(content.Metadata)
		case *pb.ToolStreamChunk_Error:
			return false, errorOf(content.Error)
		case *pb.ToolStreamChunk_Complete:
			isOver = true
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
