package toolbridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

const (
	// pageBytes of specs are registered in one request.
	pageBytes = 2 << 20
	// reminder is how often a worker logs that it still waits for its hub.
	reminder = time.Minute
)

// Worker offers tools to a hub over a connection that it opens itself, so that it needs no open port.
type Worker struct {
	address string
	config  *config
	tools   map[string]*Definition
	// order has the tools as they were added.
	order []*Definition
	ready chan struct{}

	isRegistered, isLeaving, hasRun atomic.Bool
	fail                            chan error
	once                            sync.Once
	dialer                          *conn.Dialer
	// toldAt is when it was last logged that the worker waits for its hub.
	toldAt time.Time
}

// NewWorker returns a worker for the hub at address, without tools; Run starts it.
func NewWorker(address string, options ...Option) *Worker {
	w := &Worker{
		address: address, config: newConfig(options), tools: map[string]*Definition{}, ready: make(chan struct{}), fail: make(chan error, 1),
	}
	if w.config.workerID == "" {
		w.config.workerID = newID()
	}
	return w
}

// Add adds tools to a worker that does not run yet. It panics if two of them have the same name.
func (w *Worker) Add(tools ...*Definition) {
	for _, tool := range tools {
		if w.tools[tool.Name()] != nil {
			panic("toolbridge: two tools are named " + tool.Name() + "; give one of them another name")
		}
		w.tools[tool.Name()] = tool
		w.order = append(w.order, tool)
	}
}

// ID returns the worker's id.
func (w *Worker) ID() string { return w.config.workerID }

// Ready is closed when the tools can be called for the first time.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Run connects to the hub, registers the tools, and serves until the context ends. If the connection is lost, it
// connects again with growing pauses and registers the tools again.
//
// When the context ends, the hub sends no new calls, those in flight finish within the grace (WithShutdownGrace), and
// Run returns nil. It returns an *Error if the hub does not admit the worker or its tools, or if the session of the
// tools has ended. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if w.hasRun.Swap(true) {
		return protocolError("this worker has been run before and runs only once; make another")
	}
	if w.config.capacity < 1 {
		return invalid("the capacity of a worker is 1 or more, not %d", w.config.capacity)
	}
	channel, err := w.config.open(w.address)
	if err != nil {
		return err
	}
	defer func() { _ = channel.Close() }()
	hello := w.config.hello()
	hello.Features = append(hello.Features, link.PrincipalFeature)
	w.dialer = conn.NewDialer(conn.Options{
		Where: w.address, Dial: channel.Dial, Hello: hello, Serve: w.serve, OnLink: w.register,
		OnLost: w.lost, Persistent: w.isRegistered.Load,
	})
	defer w.dialer.Close()
	select {
	case err := <-w.fail:
		return err
	case <-ctx.Done():
	}
	w.isLeaving.Store(true)
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), w.config.grace)
	defer stop()
	w.dialer.Drain(late, w.config.grace, errWorkerLeaves)
	return nil
}

var errWorkerLeaves = &Error{Type: "Cancelled", Message: "the call was cancelled: its worker leaves", Origin: originBridge}

// lost logs why there is no connection, once and then every minute. A hub that refuses the worker from the start ends
// it.
func (w *Worker) lost(err error) {
	if w.isLeaving.Load() {
		return
	}
	if conn.IsPermanent(err) && !w.isRegistered.Load() {
		w.end(asError(err))
		return
	}
	level := slog.LevelDebug
	if time.Since(w.toldAt) > reminder {
		w.toldAt = time.Now()
		level = slog.LevelWarn
	}
	w.config.logger.Log(context.Background(), level, "waiting for the hub", "address", w.address, "reason", err)
}

func (w *Worker) end(err error) {
	select {
	case w.fail <- err:
	default:
	}
}

// register registers the tools over a new link, and tries again while the hub refuses them for a reason that may pass.
func (w *Worker) register(ctx context.Context, link *conn.Conn) {
	pauses := new(conn.Backoff)
	for !w.isLeaving.Load() {
		err := w.registerOnce(ctx, link)
		if err == nil {
			w.toldAt = time.Time{}
			if w.isRegistered.Swap(true) {
				w.config.logger.Info("the tools are registered again", "address", w.address)
			}
			w.once.Do(func() { close(w.ready) })
			return
		}
		var own *Error
		if errors.As(err, &own) && own.Status != "" {
			// The link was lost; the next one is dialled.
			return
		}
		if !w.isRegistered.Load() || errors.Is(err, ErrSessionExpired) {
			w.end(err)
			return
		}
		w.config.logger.Warn("the tools were not registered; trying again", "address", w.address, "reason", err)
		if !pauses.Wait(ctx) {
			return
		}
	}
}

func (w *Worker) registerOnce(ctx context.Context, link *conn.Conn) error {
	ctx, stop := context.WithTimeout(ctx, conn.CallTimeout)
	defer stop()
	if w.config.session != "" {
		request := &pb.InitializeSessionRequest{SessionId: w.config.session}
		if err := unary(ctx, link, "InitializeSession", request, new(pb.InitializeSessionResponse)); err != nil {
			return err
		}
	}
	for _, page := range w.pages() {
		request := &pb.RegisterToolsRequest{
			SessionId: w.config.session, Tools: page, WorkerId: w.config.workerID, Capacity: int32(w.config.capacity),
		}
		if err := unary(ctx, link, "RegisterTools", request, new(pb.RegisterToolsResponse)); err != nil {
			return err
		}
	}
	return nil
}

// pages splits the specs into requests that fit into a message; without tools there is one empty page.
func (w *Worker) pages() [][]*pb.ToolSpec {
	pages := [][]*pb.ToolSpec{nil}
	size := 0
	for _, tool := range w.order {
		size += proto.Size(tool.spec)
		if last := len(pages) - 1; size <= pageBytes || len(pages[last]) == 0 {
			pages[last] = append(pages[last], tool.spec)
		} else {
			pages = append(pages, []*pb.ToolSpec{tool.spec})
			size = proto.Size(tool.spec)
		}
	}
	return pages
}

// deadlineOf returns the context of a served call with a deadline in any case.
func deadlineOf(served *conn.Served, otherwise time.Duration) (context.Context, context.CancelFunc) {
	if served.Deadline.IsZero() {
		return context.WithTimeout(served.Context, otherwise)
	}
	return served.Context, func() {}
}
