package conn

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// errUnsent says that nothing of a call was sent, so that another link may take it.
var errUnsent = errors.New("the call was not sent")

// IsUnsent reports whether a call failed before anything of it was sent, so that it may be made again.
func IsUnsent(err error) bool { return errors.Is(err, errUnsent) }

// Request is a call to make.
type Request struct {
	Method   string
	Payload  []byte
	Metadata map[string]string
	// Answer answers the questions of the tool that is called; nil if the hello does not offer that.
	Answer Answer
}

// pending is a call that waits for its answer.
type pending struct {
	// answered has room for the one answer.
	answered chan struct{}
	payload  []byte
	err      error
	isOver   bool
	// questions are those of the tool; nil if they are not answered.
	questions *questions

	// Of a stream: what came and was not read yet, and who waits for it.
	messages [][]byte
	arrived  chan struct{}
}

// finish ends a call; the connection is locked.
func (c *pending) finish(payload []byte, err error) {
	if !c.isOver {
		c.isOver, c.payload, c.err = true, payload, err
		close(c.answered)
		c.questions.close()
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
	waiting := &pending{answered: make(chan struct{}), questions: newQuestions(ctx, request.Answer)}
	defer waiting.questions.close()
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
	waiting := &pending{
		answered: make(chan struct{}), arrived: make(chan struct{}, 1), questions: newQuestions(ctx, request.Answer),
	}
	call := link.NewStream(request.Method, request.Payload, timeoutMS(ctx), request.Metadata, 0)
	call.Owner = waiting
	if err := c.start(ctx, call); err != nil {
		waiting.questions.close()
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
	m.waiting.questions.close()
	if !isOver {
		m.conn.cancel(m.call, "the stream was left")
	}
}
