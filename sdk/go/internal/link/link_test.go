package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// end is an end of a link that keeps what it is told.
type end struct {
	*link.Link
	calls     []*link.Incoming
	cancelled []uint64
	replies   [][]byte
	messages  [][]byte
	ended     []*pb.LinkStatus
	events    int
	drained   bool
	pongs     []uint64
}

func (e *end) OnHello(*pb.LinkHello)                     {}
func (e *end) OnCall(call *link.Incoming)                { e.calls = append(e.calls, call) }
func (e *end) OnCancel(call *link.Incoming, _ string)    { e.cancelled = append(e.cancelled, call.ID) }
func (e *end) OnAnswer(*link.Incoming, *pb.LinkEvent)    {}
func (e *end) OnReply(_ *link.Call, payload []byte)      { e.replies = append(e.replies, payload) }
func (e *end) OnMessage(_ *link.Call, payload []byte)    { e.messages = append(e.messages, payload) }
func (e *end) OnEnd(_ *link.Call, status *pb.LinkStatus) { e.ended = append(e.ended, status) }
func (e *end) OnEvent(*link.Call, *pb.LinkEvent)         { e.events++ }
func (e *end) OnPong(number uint64)                      { e.pongs = append(e.pongs, number) }
func (e *end) OnDrain(uint32)                            { e.drained = true }
func newEnd(isHub bool, hello *pb.LinkHello) *end {
	e := new(end)
	e.Link = link.New(isHub, hello, e)
	return e
}

// pair returns both ends of a link.
func pair(t *testing.T) (client, hub *end) {
	t.Helper()
	client, hub = newEnd(false, &pb.LinkHello{Peer: "client"}), newEnd(true, &pb.LinkHello{Peer: "hub", Capacity: 100})
	settle(t, client, hub)
	return client, hub
}

// settle passes frames until both ends have nothing to send.
func settle(t *testing.T, a, b *end) {
	t.Helper()
	for a.HasOutput() || b.HasOutput() {
		for _, way := range [][2]*end{{a, b}, {b, a}} {
			if !way[0].HasOutput() {
				continue
			}
			frame := way[0].NextFrame()
			if len(frame) > 1<<20 {
				t.Fatalf("a frame has %d bytes", len(frame))
			}
			if err := way[1].Receive(frame); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func start(t *testing.T, e *end, call *link.Call) *link.Call {
	t.Helper()
	if err := e.Start(call); err != nil {
		t.Fatal(err)
	}
	return call
}

func TestCallsOfEverySizeAreAnswered(t *testing.T) {
	client, hub := pair(t)
	sizes := []int{0, 1, 16 << 10, 16<<10 + 1, 128 << 10, 128<<10 + 1, 3 << 20}
	for _, size := range sizes {
		start(t, client, link.NewCall("Echo", bytes.Repeat([]byte{7}, size), 0, nil))
	}
	settle(t, client, hub)
	if len(hub.calls) != len(sizes) {
		t.Fatalf("%d calls came", len(hub.calls))
	}
	for _, call := range hub.calls {
		if err := hub.Reply(call, bytes.Clone(call.Payload)); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, client, hub)
	total := 0
	for _, reply := range client.replies {
		total += len(reply)
	}
	want := 0
	for _, size := range sizes {
		want += size
	}
	if len(client.replies) != len(sizes) || total != want || client.Open() != 0 || hub.Active() != 0 {
		t.Errorf("%d replies of %d bytes came", len(client.replies), total)
	}
}

func TestAStreamWaitsForItsReader(t *testing.T) {
	client, hub := pair(t)
	call := start(t, client, link.NewStream("Count", nil, 0, nil, 10))
	settle(t, client, hub)
	served := hub.calls[0]
	for range 5 {
		if err := hub.Chunk(served, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
	}
	hub.End(served, new(pb.LinkStatus))
	settle(t, client, hub)
	if len(client.messages) != 2 || len(client.ended) != 0 {
		t.Fatalf("%d messages came before any was read", len(client.messages))
	}
	for range 5 {
		client.Consume(call, 6)
		settle(t, client, hub)
	}
	if len(client.messages) != 5 || len(client.ended) != 1 {
		t.Errorf("%d messages and %d ends came", len(client.messages), len(client.ended))
	}
}

func TestACancelledCallIsOpenUntilItsEnd(t *testing.T) {
	client, hub := pair(t)
	call := start(t, client, link.NewCall("Wait", nil, 0, nil))
	settle(t, client, hub)
	client.Cancel(call, "enough")
	settle(t, client, hub)
	if len(hub.cancelled) != 1 || client.Open() != 1 {
		t.Fatalf("%d cancellations came, %d calls are open", len(hub.cancelled), client.Open())
	}
	hub.End(hub.calls[0], &pb.LinkStatus{Code: 1})
	settle(t, client, hub)
	if client.Open() != 0 || len(client.ended) != 0 {
		t.Errorf("%d calls are open, %d ends were told", client.Open(), len(client.ended))
	}
}

func TestCallsThatWereNotSentCanBeSentElsewhere(t *testing.T) {
	client, hub := pair(t)
	start(t, client, link.NewCall("A", nil, 0, nil))
	settle(t, client, hub)
	start(t, client, link.NewCall("B", nil, 0, nil))
	start(t, client, link.NewCall("C", make([]byte, 1<<20), 0, nil))
	if sent, unsent := client.Sent(), client.Unsent(); len(sent) != 1 || len(unsent) != 2 {
		t.Errorf("%d calls were sent, %d were not", len(sent), len(unsent))
	}
}

func TestTheCapacityOfThePeerIsHeeded(t *testing.T) {
	client, hub := pair(t)
	for range 100 {
		start(t, client, link.NewCall("Wait", nil, 0, nil))
	}
	if client.TakesCalls() {
		t.Error("it takes a call beyond the capacity of the peer")
	}
	settle(t, client, hub)
	if err := hub.Reply(hub.calls[0], nil); err != nil {
		t.Fatal(err)
	}
	settle(t, client, hub)
	if !client.TakesCalls() {
		t.Error("it takes no call although there is room")
	}
	hub.Drain(0)
	settle(t, client, hub)
	if client.TakesCalls() || !client.drained {
		t.Error("it takes a call although the peer drains")
	}
}

func TestPingsAreAnswered(t *testing.T) {
	client, hub := pair(t)
	hub.Ping()
	settle(t, client, hub)
	if fmt.Sprint(hub.pongs) != "[1]" {
		t.Errorf("the pongs are %v", hub.pongs)
	}
}

func TestARequestBeyondWhatAPeerTakesIsRefused(t *testing.T) {
	client, hub := pair(t)
	var own *link.Error
	if err := client.Start(link.NewCall("A", make([]byte, 64<<20+1), 0, nil)); !errors.As(err, &own) || own.Type != "MessageTooLarge" {
		t.Errorf("it gave %v", err)
	}
	settle(t, client, hub)
}

func TestAPeerThatMakesTooManyCallsAtOnceIsRefused(t *testing.T) {
	client, hub := pair(t)
	const calls = 70_000
	for range calls {
		start(t, hub, link.NewCall("A", nil, 0, nil))
	}
	settle(t, client, hub)
	if len(client.calls) != 64<<10 || len(hub.ended) != calls-64<<10 {
		t.Errorf("%d calls came, %d were refused", len(client.calls), len(hub.ended))
	}
}

func TestAPeerThatCallsFasterThanItReadsGetsErrors(t *testing.T) {
	client, hub := pair(t)
	answer := make([]byte, 16<<10)
	for range 17_000 {
		start(t, hub, link.NewCall("A", nil, 0, nil))
	}
	settle(t, client, hub)
	for i, call := range client.calls {
		err := client.Reply(call, answer)
		var own *link.Error
		if isTooMuch := errors.As(err, &own) && own.Type == "ResourceExhausted"; isTooMuch != (i >= 16<<10) {
			t.Fatalf("answer %d gave %v", i, err)
		}
	}
}

func TestStreamsThatNobodyReadsHoldAMessageEach(t *testing.T) {
	client, hub := pair(t)
	for range 250 {
		start(t, hub, link.NewStream("A", nil, 0, nil, 1))
	}
	settle(t, client, hub)
	message := make([]byte, 200<<10)
	held := 0
	for _, call := range client.calls {
		for client.HasRoom(call, nil) && held < 2_000 {
			if err := client.Chunk(call, message); err != nil {
				t.Fatal(err)
			}
			held++
			settle(t, client, hub)
		}
	}
	// One message of each goes by its credit. Of those that wait, the first 164 streams hold two, which is 64 MiB.
	if held != 250+2*164+(250-164) {
		t.Errorf("%d messages were taken", held)
	}
	for _, call := range client.calls {
		client.End(call, &pb.LinkStatus{Code: 1})
	}
}

func FuzzReceive(f *testing.F) {
	seed := newEnd(true, &pb.LinkHello{Peer: "hub"})
	hello := seed.NextFrame()
	f.Add([]byte{0x0a, 0x04, 0x08, 0x01, 0x1a, 0x00})
	f.Add([]byte{0x0a, 0x06, 0x08, 0x02, 0x12, 0x02, 0x0a, 0x00})
	f.Fuzz(func(_ *testing.T, frame []byte) {
		client := newEnd(false, &pb.LinkHello{})
		_ = client.Start(link.NewCall("A", nil, 0, nil))
		_ = client.Start(link.NewStream("B", nil, 0, nil, 10))
		client.NextFrame()
		if client.Receive(hello) == nil {
			_ = client.Receive(frame)
		}
	})
}
