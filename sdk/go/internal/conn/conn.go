// Package conn moves the frames of a link, and keeps one up.
package conn

import (
	"context"
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

// Open returns how many calls of this end are not answered.
func (c *Conn) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link.Open()
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
