package conn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

const (
	// greetingTimeout is how long a hub that accepts a link may take for its hello.
	greetingTimeout = 20 * time.Second
	// stableAfter is how long a link must last for the back-off to start from the beginning.
	stableAfter = 5 * time.Second
	// CallTimeout is how long a call without a deadline waits for a link.
	CallTimeout = 30 * time.Second

	// deliveryTimeout is how long a worker that leaves waits until its callers know.
	deliveryTimeout = 3 * time.Second

	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// permanent are the codes of a dial that dialling again would not change: a wrong token stays wrong.
var permanent = []codes.Code{
	codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound,
	codes.Unimplemented,
}

// IsPermanent reports whether another dial would fail in the same way.
func IsPermanent(err error) bool {
	var failure *Failure
	return errors.As(err, &failure) && slices.Contains(permanent, failure.Code)
}

// Backoff is the pauses between attempts: they double up to 5 s, and each is shortened at random, so that peers that
// failed together do not try again together. The zero Backoff is at its beginning.
type Backoff struct{ next time.Duration }

// Next returns the next pause.
func (b *Backoff) Next() time.Duration {
	pause := max(b.next, firstPause)
	b.next = min(2*pause, lastPause)
	return time.Duration(float64(pause) * (0.5 + rand.Float64()/2))
}

// Wait waits for the next pause; false if the context ended before.
func (b *Backoff) Wait(ctx context.Context) bool {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Options of a Dialer.
type Options struct {
	// Where is the hub's address, for error texts.
	Where string
	// Dial opens a stream.
	Dial  func(context.Context) (Stream, error)
	Hello *pb.LinkHello
	// Serve runs each call of the hub, in a goroutine of its own; nil: none is served.
	Serve func(*Served)
	// OnLink is called with each new link before others use it.
	OnLink func(context.Context, *Conn)
	// OnLost is called when a link was lost or not reached, with the reason.
	OnLost func(error)
	// Persistent dials again whatever the failure was.
	Persistent func() bool
}

// Dialer keeps one link up: it dials when it is started, and again whenever the link is lost.
type Dialer struct {
	options Options
	ctx     context.Context
	cancel  context.CancelFunc
	ended   sync.WaitGroup
	// retiring is set when no further link is wanted.
	retiring atomic.Bool

	mu      sync.Mutex
	current *Conn
	// changed is closed at the next change of the fields below.
	changed chan struct{}
	failure error
	// conns are all links that are up, with those that drain.
	conns  map[*Conn]struct{}
	wanted chan struct{}
}

// NewDialer returns a dialer that dials from now on.
func NewDialer(options Options) *Dialer {
	d := &Dialer{options: options, changed: make(chan struct{}), conns: map[*Conn]struct{}{}, wanted: make(chan struct{}, 1)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.ended.Add(1)
	go func() {
		defer d.ended.Done()
		d.run()
	}()
	return d
}

func (d *Dialer) set(current *Conn, failure error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current, d.failure = current, failure
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Dialer) run() {
	pauses := new(Backoff)
	for d.ctx.Err() == nil && !d.retiring.Load() {
		c, err := d.dial()
		if err != nil {
			d.set(nil, err)
			if d.options.OnLost != nil {
				d.options.OnLost(err)
			}
			if IsPermanent(err) && (d.options.Persistent == nil || !d.options.Persistent()) {
				select {
				case <-d.wanted:
				case <-d.ctx.Done():
					return
				}
			}
		} else {
			began := time.Now()
			d.use(c)
			if time.Since(began) > stableAfter {
				pauses = new(Backoff)
			}
		}
		pauses.Wait(d.ctx)
	}
}

// use lets calls use a link until it takes no more.
func (d *Dialer) use(c *Conn) {
	if d.options.OnLink != nil {
		d.options.OnLink(d.ctx, c)
	}
	select {
	case <-c.unusable:
	default:
		d.set(c, nil)
		select {
		case <-c.unusable:
		case <-d.ctx.Done():
		}
	}
	d.set(nil, nil)
	if d.options.OnLost != nil && d.ctx.Err() == nil {
		d.options.OnLost(&Failure{Code: codes.Unavailable, Message: "the link was lost"})
	}
}

// dial returns a link that the hub has accepted.
func (d *Dialer) dial() (*Conn, error) {
	stream, err := d.options.Dial(d.ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(stream, d.options.Where, d.options.Hello, d.options.Serve)
	d.mu.Lock()
	d.conns[c] = struct{}{}
	d.mu.Unlock()
	go func() {
		<-c.done
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}()
	timer := time.NewTimer(greetingTimeout)
	defer timer.Stop()
	select {
	case <-c.greeted:
		return c, nil
	case <-c.done:
		return nil, c.failure
	case <-d.ctx.Done():
		c.Close()
		return nil, c.failure
	case <-timer.C:
		c.Close()
		return nil, &Failure{Code: codes.Unavailable, Message: fmt.Sprintf("the hub said nothing for %v", greetingTimeout)}
	}
}

// Conn waits for the link. Without a deadline it waits for CallTimeout; a failure that stays is returned at once.
func (d *Dialer) Conn(ctx context.Context) (*Conn, error) {
	d.mu.Lock()
	current, changed := d.current, d.changed
	if current == nil && d.failure != nil && IsPermanent(d.failure) {
		d.failure = nil
		select {
		case d.wanted <- struct{}{}:
		default:
		}
	}
	d.mu.Unlock()
	if current != nil {
		return current, nil
	}
	timer := time.NewTimer(CallTimeout)
	defer timer.Stop()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, d.unreached(ctx.Err())
		case <-timer.C:
			return nil, d.unreached(nil)
		case <-d.ctx.Done():
			return nil, &Failure{Code: codes.Canceled, Message: "the connection was closed"}
		}
		d.mu.Lock()
		current, changed = d.current, d.changed
		failure := d.failure
		d.mu.Unlock()
		if current != nil {
			return current, nil
		}
		if failure != nil && IsPermanent(failure) {
			return nil, failure
		}
	}
}

// unreached returns the error of a caller that waited for a link for too long.
func (d *Dialer) unreached(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	why := "the hub was not reached in time"
	if d.failure != nil {
		why = d.failure.Error()
	}
	return &Failure{Code: codes.Unavailable, Message: fmt.Sprintf("no answer from the hub at %s: %s", d.options.Where, why)}
}

// Call makes a unary call over the present or the next link; see Conn.Call.
func (d *Dialer) Call(ctx context.Context, request *Request) ([]byte, error) {
	for {
		c, err := d.Conn(ctx)
		if err != nil {
			return nil, err
		}
		payload, err := c.Call(ctx, request)
		if err == nil || !errors.Is(err, errUnsent) {
			return payload, err
		}
		if err := d.left(ctx, c); err != nil {
			return nil, err
		}
	}
}

// Stream makes a streaming call; see Conn.Stream.
func (d *Dialer) Stream(ctx context.Context, request *Request) (*Messages, error) {
	for {
		c, err := d.Conn(ctx)
		if err != nil {
			return nil, err
		}
		messages, err := c.Stream(ctx, request)
		if err == nil || !errors.Is(err, errUnsent) {
			return messages, err
		}
		if err := d.left(ctx, c); err != nil {
			return nil, err
		}
	}
}

// left waits until a link that takes no calls is no longer the present one.
func (d *Dialer) left(ctx context.Context, c *Conn) error {
	for {
		d.mu.Lock()
		current, changed := d.current, d.changed
		d.mu.Unlock()
		if current != c {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Drain stops dialling, tells the hub to make no new calls, and waits until those in flight have ended. What has not
// ended when the context is over is cancelled with the cause.
func (d *Dialer) Drain(ctx context.Context, grace time.Duration, cause error) bool {
	d.retiring.Store(true)
	finished := true
	for _, c := range d.open() {
		if c.Leave(ctx, grace) == nil {
			continue
		}
		finished = false
		c.CancelServed(cause)
		// Gives the callers time to receive the reason.
		late, stop := context.WithTimeout(context.Background(), deliveryTimeout)
		_ = c.awaitDrain(late)
		stop()
	}
	return finished
}

// Close ends the link; calls in flight fail.
func (d *Dialer) Close() {
	d.cancel()
	for _, c := range d.open() {
		c.Close()
	}
	d.ended.Wait()
}

func (d *Dialer) open() []*Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.conns))
}
