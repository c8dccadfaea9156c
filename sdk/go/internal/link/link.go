// Package link is the protocol of a link, without any I/O.
//
// A link carries calls in both directions over one stream of frames. A Link is one end of it: it takes the frames that
// were received and tells its Handler what they mean, and it returns the next frame to send. The same code is at both
// ends; only the ids of calls differ. A Link is not safe for concurrent use.
//
// The rules are those of the messages LinkFrame and Envelope in proto/dspex_bridge.proto.
package link

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

const (
	protocolVersion = 1
	// maxControlBytes may pile up; a peer that lets more do so does not read.
	maxControlBytes = 16 << 20
	// maxIncomingBytes of unanswered requests; further calls are refused.
	maxIncomingBytes = 256 << 20
	// maxIncomingCalls may be unanswered; further ones are refused. No hub makes as many.
	maxIncomingCalls = 64 << 10
	// maxAnswerBytes may wait to be sent; a peer that calls faster than it reads gets errors.
	maxAnswerBytes = 256 << 20
	// maxPieces of incomplete payloads, of any size.
	maxPieces = 64 << 10
	// maxCrossed is how many cancelled calls are remembered whose end may still come.
	maxCrossed = 1000
	// maxMetadata and maxMetadataChars of one call.
	maxMetadata      = 64
	maxMetadataChars = 8192

	// AskFeature in a hello says that this end answers the questions of tools.
	AskFeature = "ask"
	// AsksKey in the metadata of a call says that its tool may ask.
	AsksKey = "tool-bridge-asks"
	// PrincipalFeature in the hello of a worker says that it reads who calls.
	PrincipalFeature = "principal"
	// PrincipalKey in the metadata of a call says who calls, and how the call came from there.
	PrincipalKey = "tool-bridge-principal"
	// OriginKey in the metadata of a call is the id of the call whose tool makes it.
	OriginKey = "tool-bridge-origin"
)

// gRPC status codes that a link gives.
const (
	codeCancelled         = 1
	codeInvalidArgument   = 3
	codeResourceExhausted = 8
)

// Error is what a link refuses, or ends with.
type Error struct {
	// Type is the error type of the bridge: "ProtocolError", "MessageTooLarge".
	Type    string
	Message string
}

func (e *Error) Error() string { return e.Message }

func broken(format string, args ...any) *Error {
	return &Error{"ProtocolError", fmt.Sprintf(format, args...)}
}

// Handler is told what arrives, while the frame is being read.
type Handler interface {
	OnHello(hello *pb.LinkHello)
	// OnCall is a call of the peer.
	OnCall(call *Incoming)
	// OnCancel says that the peer no longer needs the answer; the call waits for its end.
	OnCancel(call *Incoming, reason string)
	// OnAnswer is an answer to a question of a call of the peer.
	OnAnswer(call *Incoming, event *pb.LinkEvent)
	// OnReply is the answer to a unary call, OnMessage a message of a stream, OnEnd the end of either.
	OnReply(call *Call, payload []byte)
	OnMessage(call *Call, payload []byte)
	OnEnd(call *Call, status *pb.LinkStatus)
	// OnEvent is progress, a log record or a question of a call.
	OnEvent(call *Call, event *pb.LinkEvent)
	OnPong(number uint64)
	OnDrain(graceMS uint32)
}

// Call is a call that this end makes.
type Call struct {
	// Owner is for the handler.
	Owner any

	id        uint64
	streaming bool
	window    int64
	credit    int64
	consumed  int64
	cancelled bool
	canAnswer bool
	prefix    []byte
	payload   []byte
	lane      *lane
	parts     *parts
	link      *Link
}

// NewCall returns a unary call.
func NewCall(method string, payload []byte, timeoutMS uint32, metadata map[string]string) *Call {
	_, asks := metadata[AsksKey]
	return &Call{prefix: callPrefix(method, timeoutMS, metadata, 0), payload: payload, canAnswer: asks}
}

// NewStream returns a streaming call. The peer may send credit bytes ahead; 0: DefaultCredit.
func NewStream(method string, payload []byte, timeoutMS uint32, metadata map[string]string, credit uint32) *Call {
	call := &Call{prefix: callPrefix(method, timeoutMS, metadata, credit), payload: payload, streaming: true}
	_, call.canAnswer = metadata[AsksKey]
	call.window = int64(credit)
	if credit == 0 {
		call.window = DefaultCredit
	}
	call.credit = call.window
	return call
}

// ID returns the call's id; 0 until it is sent.
func (c *Call) ID() uint64 { return c.id }

func (c *Call) header(out []byte, size int) []byte {
	return appendCallHeader(out, c.prefix, c.link.issue(c), size)
}

func (c *Call) partHeader(out []byte, size int) []byte {
	return appendHeader(out, kindPart, c.link.issue(c), size)
}

// Incoming is a call that the peer makes.
type Incoming struct {
	ID        uint64
	Method    string
	Payload   []byte
	TimeoutMS uint32
	Metadata  map[string]string
	// Owner is for the handler.
	Owner any

	credit              int64
	held                int
	cancelled, answered bool
	isStream            bool
	lane                *lane
}

// Credit returns the bytes of a stream that the peer has granted.
func (c *Incoming) Credit() int64 { return c.credit }

// Cancelled reports whether the peer cancelled the call.
func (c *Incoming) Cancelled() bool { return c.cancelled }

func (c *Incoming) header(out []byte, size int) []byte {
	if c.isStream {
		return appendHeader(out, kindChunk, c.ID, size)
	}
	return appendHeader(out, kindReply, c.ID, size)
}

func (c *Incoming) partHeader(out []byte, size int) []byte {
	return appendHeader(out, kindPart, c.ID, size)
}

// parts are the pieces of an incomplete payload.
type parts struct {
	pieces [][]byte
	size   int
}

// Link is one end of a link.
type Link struct {
	// Peer is the hello of the other end; nil before it came.
	Peer *pb.LinkHello

	handler  Handler
	outbox   outbox
	answers  bool
	isHub    bool
	draining bool
	capacity int
	room     int

	// lastID is the id of the last call that was sent, peerLastID that of the peer's.
	lastID, peerLastID int64
	// calls are the unanswered calls that were sent; open counts those that were not yet, too.
	calls map[uint64]*Call
	open  int
	pings uint64

	incoming      map[uint64]*Incoming
	incomingBytes int
	assembling    map[uint64]*parts
	assembled     int
	pieces        int
	// crossed are cancelled calls whose answer came, so that their end may come, too.
	crossed []uint64
}

// New returns one end of a link.
func New(isHub bool, hello *pb.LinkHello, handler Handler) *Link {
	greeting := proto.Clone(hello).(*pb.LinkHello)
	greeting.Protocol = protocolVersion
	l := &Link{
		handler:    handler,
		answers:    slices.Contains(hello.Features, AskFeature),
		isHub:      isHub,
		capacity:   math.MaxInt,
		lastID:     -1,
		peerLastID: 0,
		calls:      map[uint64]*Call{},
		incoming:   map[uint64]*Incoming{},
		assembling: map[uint64]*parts{},
	}
	if isHub {
		l.lastID, l.peerLastID = 0, -1
	}
	if hello.Capacity > 0 {
		l.capacity = int(hello.Capacity)
	}
	l.control(&pb.Envelope{Kind: &pb.Envelope_Hello{Hello: greeting}})
	return l
}

// ------------------------------------------------------------------------------------------------------- sending

// HasOutput reports whether there is a frame to send.
func (l *Link) HasOutput() bool { return !l.outbox.isEmpty() }

// Waiting returns how many things wait for the next frame.
func (l *Link) Waiting() int { return l.outbox.waiting() }

// IsFull reports whether a whole frame waits.
func (l *Link) IsFull() bool { return l.outbox.size >= frameBytes }

// NextFrame removes and returns the next frame; it is empty if what waits has to wait longer.
func (l *Link) NextFrame() []byte { return l.outbox.nextFrame() }

// TakesCalls reports whether a call may be made now.
func (l *Link) TakesCalls() bool {
	return !l.draining && l.open < l.room && l.outbox.size < highWaterBytes
}

// Draining reports whether the peer takes no new calls.
func (l *Link) Draining() bool { return l.draining }

// Active returns how many calls of the peer are not answered.
func (l *Link) Active() int { return len(l.incoming) }

// Open returns how many calls of this end are not answered, including cancelled ones.
func (l *Link) Open() int { return l.open }

// Incoming returns the calls of the peer that are not answered.
func (l *Link) Incoming() []*Incoming {
	calls := make([]*Incoming, 0, len(l.incoming))
	for _, call := range l.incoming {
		if !call.answered {
			calls = append(calls, call)
		}
	}
	return calls
}

// Sent returns the calls that were sent and not answered; Unsent those that were not sent.
func (l *Link) Sent() []*Call {
	calls := make([]*Call, 0, len(l.calls))
	for _, call := range l.calls {
		if !call.cancelled {
			calls = append(calls, call)
		}
	}
	return calls
}

// Unsent returns the calls of which nothing was sent; they may be made over another link.
func (l *Link) Unsent() []*Call { return l.outbox.unsent() }

// Start makes a call.
func (l *Link) Start(call *Call) error {
	if err := checkSize("the request", call.payload); err != nil {
		return err
	}
	call.link = l
	l.open++
	if len(call.payload) <= smallBytes {
		l.outbox.addSmall(call, call.payload)
	} else {
		call.lane = new(lane)
		l.outbox.add(call.lane, call, call.payload)
	}
	call.payload = nil
	return nil
}

// Cancel cancels a call; one that was sent counts as open until its end comes.
func (l *Link) Cancel(call *Call, reason string) {
	if call.cancelled || call.link == nil {
		return
	}
	call.cancelled = true
	l.forget(call.parts)
	call.parts = nil
	if call.lane != nil {
		l.outbox.drop(call.lane)
	}
	if call.id == 0 {
		l.open--
		l.outbox.removeSmall(call)
	} else if l.calls[call.id] != nil {
		l.control(&pb.Envelope{Id: call.id, Kind: &pb.Envelope_Cancel{Cancel: &pb.LinkCancel{Reason: reason}}})
	}
}

// Consume notes that size bytes of a stream were read; more is granted once that is half a window.
func (l *Link) Consume(call *Call, size int) {
	call.consumed += int64(size)
	if call.consumed*2 < call.window || call.cancelled || l.calls[call.id] == nil {
		return
	}
	call.credit += call.consumed
	for call.consumed > 0 {
		granted := min(call.consumed, math.MaxUint32)
		l.control(&pb.Envelope{Id: call.id, Kind: &pb.Envelope_Credit{Credit: uint32(granted)}})
		call.consumed -= granted
	}
}

// Reply answers a unary call.
func (l *Link) Reply(call *Incoming, payload []byte) error {
	if call.answered {
		return nil
	}
	if err := checkSize("the answer", payload); err != nil {
		return err
	}
	if waiting := l.outbox.size + len(payload); l.outbox.size > 0 && waiting > maxAnswerBytes {
		return &Error{"ResourceExhausted", fmt.Sprintf("the answers that wait for their reader would take %d bytes, "+
			"the limit is %d; read them, and make fewer calls at once", waiting, maxAnswerBytes)}
	}
	call.answered = true
	if len(payload) <= smallBytes {
		l.over(call)
		l.outbox.addSmall(call, payload)
		return nil
	}
	l.release(call)
	call.lane = &lane{onEmpty: func() { l.over(call) }}
	l.outbox.add(call.lane, call, payload)
	return nil
}

// Chunk sends a message of a stream as soon as the peer's credit allows.
func (l *Link) Chunk(call *Incoming, payload []byte) error {
	if call.answered || call.cancelled {
		return nil
	}
	if err := checkSize("a message of the stream", payload); err != nil {
		return err
	}
	call.isStream = true
	if call.lane == nil {
		call.lane = &lane{isStream: true, credit: call.credit}
	}
	l.outbox.add(call.lane, call, payload)
	return nil
}

// HasRoom reports whether a stream may have another message; if not, onRoom is called once some of it was sent.
func (l *Link) HasRoom(call *Incoming, onRoom func()) bool {
	if call.lane == nil || l.outbox.hasRoom(call.lane) {
		return true
	}
	call.lane.onRoom = onRoom
	return false
}

// End ends a call: a stream after its last message, a unary one with an error.
func (l *Link) End(call *Incoming, status *pb.LinkStatus) {
	if call.answered {
		return
	}
	call.answered = true
	l.release(call)
	envelope := whole(&pb.Envelope{Id: call.ID, Kind: &pb.Envelope_End{End: status}})
	if call.lane == nil || call.lane.isDropped || call.lane.isEmpty() {
		l.over(call)
		l.outbox.addControl(envelope)
		return
	}
	call.lane.last = envelope
	call.lane.onEmpty = func() { l.over(call) }
	l.outbox.schedule(call.lane)
}

// Tell sends an event of a call of the peer; it arrives before the call's end.
func (l *Link) Tell(call *Incoming, event *pb.LinkEvent) {
	if !call.answered && !call.cancelled {
		l.control(&pb.Envelope{Id: call.ID, Kind: &pb.Envelope_Event{Event: event}})
	}
}

// Answer sends an event of a call of this end: the answer to a question.
func (l *Link) Answer(call *Call, event *pb.LinkEvent) {
	if !call.cancelled && l.calls[call.id] != nil {
		l.control(&pb.Envelope{Id: call.id, Kind: &pb.Envelope_Event{Event: event}})
	}
}

// Ping sends a ping and returns its number.
func (l *Link) Ping() uint64 {
	l.pings++
	l.control(&pb.Envelope{Kind: &pb.Envelope_Ping{Ping: l.pings}})
	return l.pings
}

// Drain tells the peer to make no new calls.
func (l *Link) Drain(graceMS uint32) {
	l.control(&pb.Envelope{Kind: &pb.Envelope_Drain{Drain: &pb.LinkDrain{GraceMs: graceMS}}})
}

func checkSize(what string, payload []byte) error {
	if len(payload) > reassemblyBytes {
		return &Error{"MessageTooLarge", fmt.Sprintf(
			"message too large: %s takes %d bytes, the limit is %d; stream it in parts", what, len(payload), reassemblyBytes)}
	}
	return nil
}

// issue returns a call's id, which it gets when its first piece is written: ids rise in the order of sending.
func (l *Link) issue(call *Call) uint64 {
	if call.id == 0 {
		l.lastID += 2
		call.id = uint64(l.lastID)
		l.calls[call.id] = call
	}
	return call.id
}

func (l *Link) control(message *pb.Envelope) { l.outbox.addControl(whole(message)) }

// over ends a call of the peer.
func (l *Link) over(call *Incoming) {
	if l.incoming[call.ID] == call {
		delete(l.incoming, call.ID)
		l.release(call)
	}
}

func (l *Link) release(call *Incoming) {
	l.incomingBytes -= call.held
	call.held, call.Payload = 0, nil
}

func (l *Link) forget(p *parts) {
	if p != nil {
		l.assembled -= p.size
		l.pieces -= len(p.pieces)
	}
}
