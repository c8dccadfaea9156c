package conn_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

const patience = time.Minute

// hub is the other end of a link, in memory. It answers calls of "Echo" with their payload, and no others.
type hub struct {
	mu     sync.Mutex
	link   *link.Link
	frames chan []byte
	lost   chan struct{}
	once   sync.Once
	// called has the method of each call that came, sizes the number of calls in each frame.
	called chan string
	sizes  []int
	size   int
	held   []*link.Incoming
}

func newHub(capacity uint32) *hub {
	h := &hub{frames: make(chan []byte, 1000), lost: make(chan struct{}), called: make(chan string, 1000)}
	h.link = link.New(true, &pb.LinkHello{Peer: "hub", Capacity: capacity}, (*handler)(h))
	h.flush()
	return h
}

func (h *hub) flush() {
	for h.link.HasOutput() {
		h.frames <- h.link.NextFrame()
	}
}

// Send is the stream's: a frame of the client.
func (h *hub) Send(frame []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size = 0
	if err := h.link.Receive(frame); err != nil {
		return err
	}
	h.sizes = append(h.sizes, h.size)
	h.flush()
	return nil
}

func (h *hub) Recv() ([]byte, error) {
	select {
	case frame := <-h.frames:
		return frame, nil
	case <-h.lost:
		return nil, io.EOF
	}
}

func (h *hub) Close() { h.once.Do(func() { close(h.lost) }) }

// do acts at the hub.
func (h *hub) do(act func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	act()
	h.flush()
}

type handler hub

func (h *handler) OnHello(*pb.LinkHello) {}
func (h *handler) OnCall(call *link.Incoming) {
	h.size++
	h.called <- call.Method
	if call.Method == "Echo" {
		_ = h.link.Reply(call, call.Payload)
	} else {
		h.held = append(h.held, call)
	}
}
func (h *handler) OnCancel(call *link.Incoming, _ string) {
	h.link.End(call, &pb.LinkStatus{Code: int32(codes.Canceled)})
}
func (h *handler) OnAnswer(*link.Incoming, *pb.LinkEvent) {}
func (h *handler) OnReply(*link.Call, []byte)             {}
func (h *handler) OnMessage(*link.Call, []byte)           {}
func (h *handler) OnEnd(*link.Call, *pb.LinkStatus)       {}
func (h *handler) OnEvent(*link.Call, *pb.LinkEvent)      {}
func (h *handler) OnPong(uint64)                          {}
func (h *handler) OnDrain(uint32)                         {}

// dialer dials the hubs in turn; after the last one, dials fail.
func dialer(t *testing.T, hubs ...*hub) *conn.Dialer {
	t.Helper()
	next := make(chan *hub, len(hubs))
	for _, h := range hubs {
		next <- h
	}
	d := conn.NewDialer(conn.Options{
		Where: "the test", Hello: &pb.LinkHello{Peer: "test"},
		Dial: func(context.Context) (conn.Stream, error) {
			select {
			case h := <-next:
				return h, nil
			default:
				return nil, &conn.Failure{Code: codes.Unavailable, Message: "no hub is left"}
			}
		},
	})
	t.Cleanup(d.Close)
	return d
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-event:
		return got
	case <-time.After(patience):
		t.Fatalf("%s did not come within %v", what, patience)
		panic("unreachable")
	}
}

func codeOf(err error) codes.Code {
	var failure *conn.Failure
	if errors.As(err, &failure) {
		return failure.Code
	}
	return codes.Unknown
}

func TestACallThatWasSentFailsWithItsLink(t *testing.T) {
	first, second := newHub(0), newHub(0)
	d := dialer(t, first, second)
	go func() {
		<-first.called
		first.Close()
	}()
	if _, err := d.Call(patient(t), &conn.Request{Method: "Wait"}); codeOf(err) != codes.Unavailable {
		t.Errorf("it gave %v", err)
	}
	if answer, err := d.Call(patient(t), &conn.Request{Method: "Echo", Payload: []byte("x")}); err != nil || string(answer) != "x" {
		t.Errorf("over the next link it gave %q, %v", answer, err)
	}
}

// stalled is a stream whose second frame is never sent: the first one has the hello.
type stalled struct {
	*hub
	frames           int
	greeted, sending chan struct{}
}

func (s *stalled) Send(frame []byte) error {
	if s.frames++; s.frames == 1 {
		defer close(s.greeted)
		return s.hub.Send(frame)
	}
	close(s.sending)
	<-s.lost
	return io.EOF
}

func TestACallThatWasNotSentGoesToTheNextLink(t *testing.T) {
	first, second := &stalled{hub: newHub(0), greeted: make(chan struct{}), sending: make(chan struct{})}, newHub(0)
	streams := make(chan conn.Stream, 2)
	streams <- first
	streams <- second
	d := conn.NewDialer(conn.Options{
		Where: "the test", Hello: &pb.LinkHello{Peer: "test"},
		Dial: func(context.Context) (conn.Stream, error) { return <-streams, nil },
	})
	t.Cleanup(d.Close)
	link, err := d.Conn(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	await(t, first.greeted, "the hello")
	sent, unsent := make(chan error, 1), make(chan error, 1)
	call := func(result chan error) {
		_, err := d.Call(patient(t), &conn.Request{Method: "Echo"})
		result <- err
	}
	go call(sent)
	await(t, first.sending, "the call")
	// Its frame is under way, so the next call waits.
	go call(unsent)
	for ctx := patient(t); link.Open() < 2 && ctx.Err() == nil; {
		runtime.Gosched()
	}
	first.Close()
	if err := await(t, sent, "its answer"); codeOf(err) != codes.Unavailable {
		t.Errorf("the call that was sent gave %v", err)
	}
	if err := await(t, unsent, "its answer"); err != nil {
		t.Errorf("the call that was not sent gave %v", err)
	}
}

func TestCallsWaitWhileTheHubTakesNoMore(t *testing.T) {
	h := newHub(1)
	d := dialer(t, h)
	ctx, cancel := context.WithCancel(patient(t))
	held := make(chan error, 1)
	go func() {
		_, err := d.Call(ctx, &conn.Request{Method: "Wait"})
		held <- err
	}()
	<-h.called
	answered := make(chan error, 1)
	go func() {
		_, err := d.Call(patient(t), &conn.Request{Method: "Echo"})
		answered <- err
	}()
	// The second call is made when the first one has ended.
	cancel()
	if err := await(t, held, "its answer"); !errors.Is(err, context.Canceled) {
		t.Errorf("the first call gave %v", err)
	}
	if err := await(t, answered, "its answer"); err != nil {
		t.Errorf("the second call gave %v", err)
	}
}

func TestCallsThatAHubThatDrainsDoesNotTakeGoToTheNextLink(t *testing.T) {
	first, second := newHub(0), newHub(0)
	d := dialer(t, first, second)
	if _, err := d.Call(patient(t), &conn.Request{Method: "Echo"}); err != nil {
		t.Fatal(err)
	}
	first.do(func() { first.link.Drain(0) })
	for {
		if _, err := d.Call(patient(t), &conn.Request{Method: "Echo"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-second.called:
			return
		default:
		}
	}
}

func TestAWrongTokenIsNotTriedAgain(t *testing.T) {
	dials := 0
	d := conn.NewDialer(conn.Options{
		Where: "the test", Hello: &pb.LinkHello{},
		Dial: func(context.Context) (conn.Stream, error) {
			dials++
			return nil, &conn.Failure{Code: codes.Unauthenticated, Message: "wrong token"}
		},
	})
	_, err := d.Conn(patient(t))
	d.Close()
	if codeOf(err) != codes.Unauthenticated || dials > 2 {
		t.Errorf("after %d dials it gave %v", dials, err)
	}
}

func TestACallGivesUpWithItsContextWhileThereIsNoLink(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	if _, err := dialer(t).Call(ctx, &conn.Request{Method: "Echo"}); codeOf(err) != codes.Unavailable {
		t.Errorf("it gave %v", err)
	}
}

func TestAPeerThatBreaksTheProtocolLosesItsLink(t *testing.T) {
	h := newHub(0)
	d := dialer(t, h)
	go func() {
		<-h.called
		h.frames <- []byte("GET / HTTP/1.1\r\n")
	}()
	if _, err := d.Call(patient(t), &conn.Request{Method: "Wait"}); codeOf(err) != codes.Unavailable {
		t.Errorf("it gave %v", err)
	}
}

func TestCallsThatAreMadeTogetherShareFrames(t *testing.T) {
	h := newHub(0)
	d := dialer(t, h)
	if _, err := d.Conn(patient(t)); err != nil {
		t.Fatal(err)
	}
	const calls = 500
	var group sync.WaitGroup
	begin := make(chan struct{})
	for range calls {
		group.Add(1)
		go func() {
			defer group.Done()
			<-begin
			if _, err := d.Call(patient(t), &conn.Request{Method: "Echo"}); err != nil {
				t.Error(err)
			}
		}()
	}
	close(begin)
	group.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sizes) > calls/2 {
		t.Errorf("%d calls were sent in %d frames", calls, len(h.sizes))
	}
}

func TestThePausesGrowAndAreShortenedAtRandom(t *testing.T) {
	pauses := new(conn.Backoff)
	for _, most := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		most *= time.Millisecond
		if pause := pauses.Next(); pause > most || pause < most/2 {
			t.Errorf("a pause of %v, where %v is the most", pause, most)
		}
	}
}
