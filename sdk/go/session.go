package toolbridge

import (
	"context"
	"errors"
	"time"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
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

// maxTools of a session are listed; a hub that goes on never ends.
const maxTools = 200_000

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
		if len(page.Tools) == 0 || len(tools) > maxTools {
			return nil, protocolError("the hub's list of tools does not end: %d came, and there are more", len(tools))
		}
		request.PageToken = page.NextPageToken
	}
}
