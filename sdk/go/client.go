package toolbridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
)

// Client is a connection to a hub. If it is lost, the client connects again, with growing pauses, and resumes its
// sessions. It is safe for concurrent use, and so is everything it returns.
type Client struct {
	address string
	config  *config
	channel *conn.Channel
	dialer  *conn.Dialer

	mu       sync.Mutex
	sessions []*Session
}

// Dial connects to the hub at address: "host:port", "[ipv6]:port" or "unix:path". It returns when the hub has accepted
// the connection. The context is only for that; without a deadline Dial waits for 30 seconds.
func Dial(ctx context.Context, address string, options ...Option) (*Client, error) {
	config := newConfig(options)
	channel, err := config.open(address)
	if err != nil {
		return nil, err
	}
	c := &Client{address: address, config: config, channel: channel}
	c.dialer = conn.NewDialer(conn.Options{
		Where: address, Dial: channel.Dial, Hello: config.hello(), OnLink: c.rejoin,
		OnLost: func(err error) { config.logger.Debug("no connection to the hub", "address", address, "reason", err) },
	})
	if _, err := c.dialer.Conn(ctx); err != nil {
		c.Close()
		return nil, asError(err)
	}
	return c, nil
}

// Close disconnects; calls in flight fail. Sessions stay at the hub until they are ended or have been idle for too long.
func (c *Client) Close() error {
	c.dialer.Close()
	return c.channel.Close()
}

// rejoin resumes the sessions over a new link.
func (c *Client) rejoin(ctx context.Context, link *conn.Conn) {
	c.mu.Lock()
	sessions := slices.Clone(c.sessions)
	c.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, conn.CallTimeout)
	defer stop()
	for _, session := range sessions {
		session.rejoin(ctx, link)
	}
}

func (c *Client) forget(session *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = slices.DeleteFunc(c.sessions, func(other *Session) bool { return other == session })
}

// Health reports whether the hub is serving.
func (c *Client) Health(ctx context.Context) (bool, error) {
	response := new(pb.HealthCheckResponse)
	err := unary(ctx, c.dialer, "HealthCheck", &pb.HealthCheckRequest{}, response)
	return response.Status == pb.HealthCheckResponse_SERVING, err
}

// caller makes calls: over the present link, or over one link for a tool.
type caller interface {
	Call(ctx context.Context, request *conn.Request) ([]byte, error)
	Stream(ctx context.Context, request *conn.Request) (*conn.Messages, error)
}

// unary makes a call of a method. An answer without success is its error.
func unary(ctx context.Context, caller caller, method string, request, response proto.Message) error {
	payload, err := marshal(request)
	if err != nil {
		return err
	}
	answer, err := caller.Call(ctx, &conn.Request{Method: method, Payload: payload})
	if err != nil {
		return asError(err)
	}
	if err := proto.Unmarshal(answer, response); err != nil {
		return protocolError("the answer to %s cannot be read: %v", method, err)
	}
	if failed, ok := response.(interface{ GetError() *pb.ErrorInfo }); ok && failed.GetError() != nil {
		return errorOf(failed.GetError())
	}
	return nil
}

func marshal(request proto.Message) ([]byte, error) {
	payload, err := proto.Marshal(request)
	if err != nil {
		return nil, invalid("the request cannot be written: %v", err)
	}
	return payload, nil
}

// newID returns a random id.
func newID() string {
	var data [16]byte
	_, _ = rand.Read(data[:])
	return hex.EncodeToString(data[:])
}
