package toolbridge

import (
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// Option is an option of Dial and of NewWorker.
type Option func(*config)

type config struct {
	token         string
	tls           *tls.Config
	allowInsecure bool
	logger        *slog.Logger
	onAsk         OnAsk

	workerID string
	session  string
	capacity int
	grace    time.Duration
}

const (
	defaultCapacity = 100
	defaultGrace    = 10 * time.Second
)

func newConfig(options []Option) *config {
	c := &config{logger: slog.Default(), capacity: defaultCapacity, grace: defaultGrace}
	for _, option := range options {
		option(c)
	}
	return c
}

// WithToken sends a bearer token. Beyond this machine it is sent over TLS only.
func WithToken(token string) Option { return func(c *config) { c.token = token } }

// WithTLS connects over TLS. An empty config trusts the system's authorities.
func WithTLS(tlsConfig *tls.Config) Option { return func(c *config) { c.tls = tlsConfig } }

// WithInsecureToken sends the token beyond this machine without TLS, because the network itself is trusted.
func WithInsecureToken() Option { return func(c *config) { c.allowInsecure = true } }

// WithLogger sets where lost and new connections are logged; by default slog.Default().
func WithLogger(logger *slog.Logger) Option { return func(c *config) { c.logger = logger } }

// WithWorkerID sets a worker's id, of 1 to 256 printable characters. A later worker with the same id replaces this one.
// By default an id is generated.
func WithWorkerID(id string) Option { return func(c *config) { c.workerID = id } }

// WithCapacity sets how many calls a worker runs at once; by default 100. Further calls go to other workers, or wait at
// the hub.
func WithCapacity(calls int) Option { return func(c *config) { c.capacity = calls } }

// WithSessionID makes a worker's tools those of one session, which is created if it does not exist. By default every
// session sees them.
func WithSessionID(id string) Option { return func(c *config) { c.session = id } }

// WithShutdownGrace sets how long a worker that stops waits for the calls in flight; by default 10 s. What has not ended
// by then is cancelled.
func WithShutdownGrace(grace time.Duration) Option { return func(c *config) { c.grace = grace } }

// open returns what dials links to the address.
func (c *config) open(address string) (*conn.Channel, error) {
	if address == "" || strings.Contains(address, "://") || strings.Contains(address, "@") {
		return nil, invalid("the address of a hub is host:port, such as 127.0.0.1:50051, or unix:path")
	}
	if !strings.HasPrefix(address, "unix:") {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return nil, invalid("%.100q is not the address of a hub: write host:port, such as 127.0.0.1:50051 or [::1]:50051", address)
		}
	}
	if c.token != "" && c.tls == nil && !c.allowInsecure && !isLocal(address) {
		return nil, invalid("the token would be sent to %s without TLS, where others may read it: use WithTLS, or "+
			"WithInsecureToken if the network itself is trusted", address)
	}
	channel, err := conn.NewChannel(address, c.token, c.tls)
	if err != nil {
		return nil, invalid("the address %.100q cannot be used: %v", address, err)
	}
	return channel, nil
}

// isLocal reports whether an address is on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// hello is this end's. It has no capacity, which would refuse the nested calls of a worker that is full: the hub knows
// that of a worker from its registration.
func (c *config) hello() *pb.LinkHello {
	hello := &pb.LinkHello{Peer: "Go " + strings.TrimPrefix(runtime.Version(), "go")}
	if c.onAsk != nil {
		hello.Features = []string{link.AskFeature}
	}
	return hello
}
