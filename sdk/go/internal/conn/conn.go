// Package conn moves the frames of a link, and keeps one up.
package conn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// Stream carries the frames of a link. One goroutine sends and another receives.
type Stream interface {
	Send(frame []byte) error
	Recv() ([]byte, error)
	// Close ends the stream at once; Send and Recv then fail.
	Close()
}

// Failure says that a call was not answered, or that a hub was not reached.
type Failure struct {
	Code    codes.Code
	Message string
	// Info is the hub's own error, if it gave one.
	Info *pb.ErrorInfo
}

func (f *Failure) Error() string { return f.Message }

// Ended is the status with which the peer ended a call.
type Ended struct {
	Status *pb.LinkStatus
}

func (e *Ended) Error() string { return e.Status.GetMessage() }

// errUnsent says that nothing of a call was sent, so that another link may take it.
var errUnsent = errors.New("the call was not sent")

// IsUnsent reports whether a call failed before anything of it was sent, so that it may be made again.
func IsUnsent(err error) bool { return errors.Is(err, errUnsent) }

// Request is a call to make.
type Request struct {
	Method   string
	Payload  []byte
	Metadata map[string]string
}

// Conn is one link that is up.
type Conn struct {
	// Where is the hub's address, for error texts.
	Where string

	stream Stream
	serve  func(*Served)
	wake   chan struct{}
	// greeted is closed when the hub's hello came, unusable when the link takes no further calls, done when it ended.
	greeted, unusable, done chan struct{}

	mu   sync.Mutex
	link *link.Link
	// room is closed when calls may be made again; nil if nobody waits.
	room      chan struct{}
	quiet     chan struct{}
	failure   *Failure
	isDrained bool
}

// newConn starts a link over a stream; serve runs each call of the hub, in a goroutine of its own.
func newConn(stream Stream, where string, hello *pb.LinkHello, serve func(*Served)) *Conn {
	c := &Conn{
		Where: where, stream: stream, serve: serve, wake: make(chan struct{}, 1),
		greeted: make(chan struct{}), unusable: make(chan struct{}), done: make(chan struct{}),
	}
	c.link = link.New(false, hello, (*handler)(c))
	c.flush()
	go c.write()
	go c.read()
	return c
}

// flush wakes the writer.
func (c *Conn) flush() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// maxYields bounds how often the writer lets others add to the next frame.
const maxYields = 16

// write sends what waits. Each frame costs the hub far more than each envelope in it, so before a frame is taken, every
// goroutine that is ready runs until it adds nothing more.
func (c *Conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		for c.link.HasOutput() {
			for yields := 0; yields < maxYields && !c.link.IsFull(); yields++ {
				waiting := c.link.Waiting()
				c.mu.Unlock()
				runtime.Gosched()
				c.mu.Lock()
				if c.link.Waiting() == waiting {
					break
				}
			}
			frame := c.link.NextFrame()
			c.giveRoom()
			if len(frame) == 0 {
				continue
			}
			c.mu.Unlock()
			if err := c.stream.Send(frame); err != nil {
				// The reader has the reason.
				return
			}
			c.mu.Lock()
		}
		c.mu.Unlock()
	}
}

func (c *Conn) read() {
	for {
		frame, err := c.stream.Recv()
		if err != nil {
			c.end(failureOf(err))
			return
		}
		c.mu.Lock()
		err = c.link.Receive(frame)
		c.giveRoom()
		hasOutput := c.link.HasOutput()
		c.mu.Unlock()
		if err != nil {
			c.end(&Failure{Code: codes.Internal, Message: err.Error()})
			return
		}
		if hasOutput {
			c.flush()
		}
	}
}

// giveRoom wakes the calls that wait for room.
func (c *Conn) giveRoom() {
	if c.room != nil && c.link.TakesCalls() {
		close(c.room)
		c.room = nil
	}
	if c.quiet != nil && c.link.Active() == 0 {
		close(c.quiet)
		c.quiet = nil
	}
}

// end fails all calls of the link.
func (c *Conn) end(failure *Failure) {
	c.mu.Lock()
	if c.failure != nil {
		c.mu.Unlock()
		return
	}
	c.failure = failure
	code := codes.Unavailable
	if failure.Code == codes.Canceled {
		code = codes.Canceled
	}
	lost := &Failure{Code: code, Message: fmt.Sprintf("the link to %s was lost: %s", c.Where, failure.Message)}
	for _, call := range c.link.Sent() {
		call.Owner.(*pending).finish(nil, lost)
	}
	for _, call := range c.link.Unsent() {
		call.Owner.(*pending).finish(nil, errUnsent)
	}
	for _, served := range c.link.Incoming() {
		served.Owner.(*Served).cancel(lost)
	}
	c.markUnusable()
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	if c.quiet != nil {
		close(c.quiet)
		c.quiet = nil
	}
	c.mu.Unlock()
	c.stream.Close()
	close(c.done)
}

func (c *Conn) markUnusable() {
	if !c.isDrained {
		c.isDrained = true
		close(c.unusable)
	}
}

// Close ends the link; calls in flight fail.
func (c *Conn) Close() {
	c.end(&Failure{Code: codes.Canceled, Message: "the connection was closed"})
}

// Leave tells the hub to make no new calls, and waits until those in flight have ended.
func (c *Conn) Leave(ctx context.Context, grace time.Duration) error {
	c.mu.Lock()
	c.link.Drain(uint32(min(grace.Milliseconds(), math.MaxUint32)))
	c.mu.Unlock()
	c.flush()
	if err := c.awaitDrain(ctx); err != nil {
		return err
	}
	return c.settle(ctx)
}

// awaitDrain waits for the hub's drain, which it sends once it has the answers to all its calls.
func (c *Conn) awaitDrain(ctx context.Context) error {
	select {
	case <-c.unusable:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until every call of the hub has ended.
func (c *Conn) settle(ctx context.Context) error {
	c.mu.Lock()
	if c.link.Active() == 0 || c.failure != nil {
		c.mu.Unlock()
		return nil
	}
	if c.quiet == nil {
		c.quiet = make(chan struct{})
	}
	quiet := c.quiet
	c.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CancelServed cancels every call of the hub.
func (c *Conn) CancelServed(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, served := range c.link.Incoming() {
		served.Owner.(*Served).cancel(cause)
	}
}

// ------------------------------------------------------------------------------------------------- calls of this end

// pending is a call that waits for its answer.
type pending struct {
	// answered has room for the one answer.
	answered chan struct{}
	payload  []byte
	err      error
	isOver   bool

	// Of a stream: what came and was not read yet, and who waits for it.
	messages [][]byte
	arrived  chan struct{}
}

// finish ends a call; the connection is locked.
func (c *pending) finish(payload []byte, err error) {
	if !c.isOver {
		c.isOver, c.payload, c.err = true, payload, err
		close(c.answered)
	}
}

// start makes a call once the link takes one.
func (c *Conn) start(ctx context.Context, call *link.Call) error {
	for {
		c.mu.Lock()
		if c.failure != nil || c.link.Draining() || c.isDrained {
			c.mu.Unlock()
			return errUnsent
		}
		if c.link.TakesCalls() {
			err := c.link.Start(call)
			c.mu.Unlock()
			c.flush()
			return err
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-c.unusable:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Conn) cancel(call *link.Call, reason string) {
	c.mu.Lock()
	c.link.Cancel(call, reason)
	hasOutput := c.link.HasOutput()
	c.giveRoom()
	c.mu.Unlock()
	if hasOutput {
		c.flush()
	}
}

// timeoutMS returns the time until the deadline of a context, at least 1 ms; 0 without one.
func timeoutMS(ctx context.Context) uint32 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	return uint32(min(max((left+time.Millisecond-1).Milliseconds(), 1), math.MaxUint32))
}

// Call makes a unary call. Its error is that of the context, an *Ended, a *Failure or a *link.Error.
func (c *Conn) Call(ctx context.Context, request *Request) ([]byte, error) {
	waiting := &pending{answered: make(chan struct{})}
	call := link.NewCall(request.Method, request.Payload, timeoutMS(ctx), request.Metadata)
	call.Owner = waiting
	if err := c.start(ctx, call); err != nil {
		return nil, err
	}
	select {
	case <-waiting.answered:
		return waiting.payload, waiting.err
	case <-ctx.Done():
	}
	c.cancel(call, reasonOf(ctx))
	select {
	case <-waiting.answered:
		if waiting.err == nil {
			return waiting.payload, nil
		}
	default:
	}
	return nil, ctx.Err()
}

func reasonOf(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "the deadline passed"
	}
	return "the caller cancelled the call"
}

// Messages is the answer to a streaming call.
type Messages struct {
	conn    *Conn
	call    *link.Call
	waiting *pending
}

// Stream makes a streaming call; its errors are those of Call. The caller must close it.
func (c *Conn) Stream(ctx context.Context, request *Request) (*Messages, error) {
	waiting := &pending{answered: make(chan struct{}), arrived: make(chan struct{}, 1)}
	call := link.NewStream(request.Method, request.Payload, timeoutMS(ctx), request.Metadata, 0)
	call.Owner = waiting
	if err := c.start(ctx, call); err != nil {
		return nil, err
	}
	return &Messages{c, call, waiting}, nil
}

// Next returns the next message; false at the end.
func (m *Messages) Next(ctx context.Context) ([]byte, bool, error) {
	for {
		m.conn.mu.Lock()
		if len(m.waiting.messages) > 0 {
			message := m.waiting.messages[0]
			m.waiting.messages[0] = nil
			m.waiting.messages = m.waiting.messages[1:]
			m.conn.link.Consume(m.call, len(message))
			hasOutput := m.conn.link.HasOutput()
			m.conn.mu.Unlock()
			if hasOutput {
				m.conn.flush()
			}
			return message, true, nil
		}
		isOver, err := m.waiting.isOver, m.waiting.err
		m.conn.mu.Unlock()
		if isOver {
			return nil, false, err
		}
		select {
		case <-m.waiting.arrived:
		case <-m.waiting.answered:
		case <-ctx.Done():
			m.conn.cancel(m.call, reasonOf(ctx))
			return nil, false, ctx.Err()
		}
	}
}

// Close cancels the call if it is not over.
func (m *Messages) Close() {
	m.conn.mu.Lock()
	isOver := m.waiting.isOver
	m.conn.mu.Unlock()
	if !isOver {
		m.conn.cancel(m.call, "the stream was left")
	}
}

// ---------------------------------------------------------------------------------------------------- what arrives

// handler is a Conn as the link sees it; the connection is locked.
type handler Conn

func (h *handler) OnHello(*pb.LinkHello) { close(h.greeted) }

func (h *handler) OnCall(call *link.Incoming) {
	served := newServed((*Conn)(h), call)
	call.Owner = served
	if h.serve == nil {
		served.conn.link.End(call, unimplemented(call.Method))
		return
	}
	go h.serve(served)
}

func unimplemented(method string) *pb.LinkStatus {
	message := fmt.Sprintf("this peer does not offer %.100s", method)
	return &pb.LinkStatus{Code: int32(codes.Unimplemented), Message: message, Error: &pb.ErrorInfo{
		Type: "Unimplemented", Message: message, Details: map[string]string{"origin": "bridge"},
	}}
}

func (h *handler) OnCancel(call *link.Incoming, _ string) {
	served := call.Owner.(*Served)
	h.link.End(call, &pb.LinkStatus{Code: int32(codes.Canceled), Message: "the call was cancelled"})
	served.cancel(context.Canceled)
}

func (h *handler) OnAnswer(*link.Incoming, *pb.LinkEvent) {}

func (h *handler) OnReply(call *link.Call, payload []byte) {
	call.Owner.(*pending).finish(payload, nil)
}

func (h *handler) OnMessage(call *link.Call, payload []byte) {
	waiting := call.Owner.(*pending)
	waiting.messages = append(waiting.messages, payload)
	select {
	case waiting.arrived <- struct{}{}:
	default:
	}
}

func (h *handler) OnEnd(call *link.Call, status *pb.LinkStatus) {
	var err error
	if status.GetCode() != 0 {
		err = &Ended{status}
	}
	call.Owner.(*pending).finish(nil, err)
}

func (h *handler) OnEvent(*link.Call, *pb.LinkEvent) {}

func (h *handler) OnPong(uint64) {}

func (h *handler) OnDrain(uint32) { (*Conn)(h).markUnusable() }

// --------------------------------------------------------------------------------------------------- calls of the hub

// Served is a call that the hub makes.
type Served struct {
	// Context ends with the call: at its deadline, when it is cancelled, when the link is lost.
	Context context.Context
	Method  string
	Payload []byte
	// Metadata of the call; Deadline is zero if it has none.
	Metadata map[string]string
	Deadline time.Time

	conn   *Conn
	call   *link.Incoming
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
}

func newServed(c *Conn, call *link.Incoming) *Served {
	s := &Served{Method: call.Method, Payload: call.Payload, Metadata: call.Metadata, conn: c, call: call}
	s.Context, s.cancel = context.WithCancelCause(context.Background())
	s.stop = func() {}
	if call.TimeoutMS > 0 {
		s.Deadline = time.Now().Add(time.Duration(call.TimeoutMS) * time.Millisecond)
		s.Context, s.stop = context.WithDeadline(s.Context, s.Deadline)
	}
	return s
}

// Conn returns the link of the call.
func (s *Served) Conn() *Conn { return s.conn }

// ID returns the id of the call on its link.
func (s *Served) ID() uint64 { return s.call.ID }

// Release frees what the context of the call holds.
func (s *Served) Release() {
	s.stop()
	s.cancel(nil)
}

// Reply answers the call; only the first answer is sent.
func (s *Served) Reply(payload []byte) error {
	return s.act(func() error { return s.conn.link.Reply(s.call, payload) })
}

// End ends the call with a status.
func (s *Served) End(status *pb.LinkStatus) {
	_ = s.act(func() error {
		s.conn.link.End(s.call, status)
		return nil
	})
}

// Chunk sends a message of a stream, as soon as its reader takes it.
func (s *Served) Chunk(payload []byte) error {
	return s.act(func() error { return s.conn.link.Chunk(s.call, payload) })
}

// AwaitRoom waits while too many messages of a stream wait for their reader.
func (s *Served) AwaitRoom() error {
	for {
		room := make(chan struct{}, 1)
		s.conn.mu.Lock()
		hasRoom := s.conn.link.HasRoom(s.call, func() {
			select {
			case room <- struct{}{}:
			default:
			}
		})
		s.conn.mu.Unlock()
		if hasRoom {
			return context.Cause(s.Context)
		}
		select {
		case <-room:
		case <-s.Context.Done():
			return context.Cause(s.Context)
		}
	}
}

func (s *Served) act(do func() error) error {
	s.conn.mu.Lock()
	err := do()
	s.conn.giveRoom()
	s.conn.mu.Unlock()
	s.conn.flush()
	return err
}
