package link

import (
	"math"
	"slices"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Receive takes a frame and tells the handler what is in it. An error ends the link.
func (l *Link) Receive(frame []byte) error {
	size := len(frame)
	var one envelope
	for {
		data, rest, err := nextEnvelope(frame)
		if err != nil {
			return broken("a frame of %d bytes cannot be read: %v", size, err)
		}
		if data == nil && rest == nil {
			break
		}
		frame = rest
		if err := one.read(data); err != nil {
			return broken("a frame of %d bytes cannot be read: %v", size, err)
		}
		if err := l.receive(&one); err != nil {
			return err
		}
	}
	if l.outbox.controlSize > maxControlBytes {
		return broken("the peer keeps sending without reading the answers")
	}
	return nil
}

func (l *Link) receive(one *envelope) error {
	hello, isHello := one.message.GetKind().(*pb.Envelope_Hello)
	if l.Peer == nil && !isHello {
		return broken("the first envelope must be the peer's hello")
	}
	switch one.kind {
	case kindCall:
		return l.receiveCall(one.id, &one.call)
	case kindReply:
		return l.receiveReply(one.id, one.data)
	case kindChunk:
		return l.receiveChunk(one.id, one.data)
	case kindPart:
		return l.receivePart(one.id, one.data)
	}
	switch kind := one.message.GetKind().(type) {
	case *pb.Envelope_Hello:
		return l.receiveHello(hello.Hello)
	case *pb.Envelope_End:
		return l.receiveEnd(one.id, kind.End)
	case *pb.Envelope_Cancel:
		return l.receiveCancel(one.id, kind.Cancel.GetReason())
	case *pb.Envelope_Credit:
		return l.receiveCredit(one.id, kind.Credit)
	case *pb.Envelope_Ping:
		l.control(&pb.Envelope{Kind: &pb.Envelope_Pong{Pong: kind.Ping}})
	case *pb.Envelope_Pong:
		l.handler.OnPong(kind.Pong)
	case *pb.Envelope_Drain:
		l.draining = true
		l.handler.OnDrain(kind.Drain.GetGraceMs())
	case *pb.Envelope_Event:
		return l.receiveEvent(one.id, kind.Event)
	default:
		return broken("an envelope of the call %d has nothing in it that is known here", one.id)
	}
	return nil
}

func (l *Link) receiveHello(hello *pb.LinkHello) error {
	if l.Peer != nil {
		return broken("a second hello came")
	}
	if hello.GetProtocol() != protocolVersion {
		return broken("the peer speaks version %d of the link's protocol; this is %d", hello.GetProtocol(), protocolVersion)
	}
	l.Peer = hello
	l.room = math.MaxInt
	if hello.Capacity > 0 {
		l.room = int(hello.Capacity)
	}
	l.handler.OnHello(hello)
	return nil
}

func (l *Link) receiveCall(id uint64, message *callEnvelope) error {
	payload := message.payload
	if pieces, found := l.assembling[id]; found {
		delete(l.assembling, id)
		payload = l.join(pieces, payload)
	} else if err := l.checkNew(id); err != nil {
		return err
	}
	call := &Incoming{
		ID: id, Method: message.method, Payload: payload, TimeoutMS: message.timeoutMS, Metadata: message.metadata,
		credit: int64(message.credit), held: len(payload),
	}
	if call.credit == 0 {
		call.credit = DefaultCredit
	}
	l.incoming[id] = call
	l.incomingBytes += call.held
	if refusal := l.refusal(call); refusal != nil {
		l.End(call, refusal)
		return nil
	}
	l.handler.OnCall(call)
	return nil
}

// refusal returns why a call, which is counted already, is refused; nil if it is accepted.
func (l *Link) refusal(call *Incoming) *pb.LinkStatus {
	switch {
	case len(l.incoming) > min(l.capacity, maxIncomingCalls):
		return exhausted("this worker takes no more concurrent calls; call again when some were answered")
	case l.incomingBytes > maxIncomingBytes:
		return exhausted("this worker takes no more bytes of requests at once; call again when some were answered")
	}
	chars := 0
	for key, text := range call.Metadata {
		chars += len(key) + len(text)
	}
	if len(call.Metadata) > maxMetadata || chars > maxMetadataChars {
		return refused("ValidationError", codeInvalidArgument, "the metadata of a call is too large; use the context of its request")
	}
	return nil
}

func exhausted(message string) *pb.LinkStatus {
	status := refused("ResourceExhausted", codeResourceExhausted, message)
	status.Error.Details["retry_after"] = "0.1"
	status.Error.Retryable = true
	return status
}

func refused(errorType string, code int32, message string) *pb.LinkStatus {
	return &pb.LinkStatus{Code: code, Message: message, Error: &pb.ErrorInfo{
		Type: errorType, Message: message, Details: map[string]string{"origin": "bridge"},
	}}
}

func (l *Link) receiveReply(id uint64, payload []byte) error {
	call := l.calls[id]
	if call == nil {
		return l.unasked(id, "reply")
	}
	if call.streaming {
		return broken("the call %d is a stream, but a reply came", id)
	}
	delete(l.calls, id)
	l.open--
	if call.cancelled {
		l.crossed = append(l.crossed, id)
		if len(l.crossed) > maxCrossed {
			l.crossed = l.crossed[1:]
		}
		return nil
	}
	if call.parts != nil {
		payload = l.join(call.parts, payload)
		call.parts = nil
	}
	l.handler.OnReply(call, payload)
	return nil
}

func (l *Link) receiveChunk(id uint64, payload []byte) error {
	call := l.calls[id]
	if call == nil {
		return l.unasked(id, "chunk")
	}
	if !call.streaming {
		return broken("the call %d is not a stream, but a chunk came", id)
	}
	if call.cancelled {
		return nil
	}
	if call.parts != nil {
		// The credit was checked with the first piece.
		payload = l.join(call.parts, payload)
		call.parts = nil
	} else if err := call.checkCredit(); err != nil {
		return err
	}
	call.credit -= int64(len(payload))
	l.handler.OnMessage(call, payload)
	return nil
}

func (c *Call) checkCredit() error {
	if c.credit <= 0 {
		return broken("the peer sent more of the stream %d than it was granted", c.id)
	}
	return nil
}

func (l *Link) receiveEnd(id uint64, status *pb.LinkStatus) error {
	call := l.calls[id]
	if call == nil {
		place := slices.Index(l.crossed, id)
		if place < 0 {
			return l.unasked(id, "end")
		}
		l.crossed = slices.Delete(l.crossed, place, place+1)
		return nil
	}
	if status.GetCode() == 0 && !call.streaming && !call.cancelled {
		return broken("the call %d ended successfully, but without its reply", id)
	}
	delete(l.calls, id)
	l.open--
	if call.lane != nil {
		// The call may have been refused before all of it was sent.
		l.outbox.drop(call.lane)
	}
	l.forget(call.parts)
	call.parts = nil
	if !call.cancelled {
		l.handler.OnEnd(call, status)
	}
	return nil
}

func (l *Link) receiveCancel(id uint64, reason string) error {
	if pieces, found := l.assembling[id]; found {
		delete(l.assembling, id)
		l.forget(pieces)
		l.endCancelled(id)
		return nil
	}
	call := l.incoming[id]
	if call == nil {
		// It was answered already, or never made.
		return l.checkOld(id, "cancel")
	}
	if call.cancelled {
		return nil
	}
	call.cancelled = true
	if call.lane != nil {
		l.outbox.drop(call.lane)
		if call.lane.onRoom != nil {
			call.lane.onRoom()
		}
	}
	if call.answered {
		// Some of its answer was still waiting.
		l.over(call)
		l.endCancelled(id)
		return nil
	}
	l.handler.OnCancel(call, reason)
	return nil
}

func (l *Link) endCancelled(id uint64) {
	status := &pb.LinkStatus{Code: codeCancelled, Message: "the call was cancelled"}
	l.control(&pb.Envelope{Id: id, Kind: &pb.Envelope_End{End: status}})
}

func (l *Link) receiveCredit(id uint64, size uint32) error {
	call := l.incoming[id]
	switch {
	case call == nil:
		return l.checkOld(id, "credit")
	case call.lane == nil:
		call.credit += int64(size)
	case call.lane.isStream:
		call.lane.credit += int64(size)
		l.outbox.schedule(call.lane)
	}
	return nil
}

func (l *Link) receivePart(id uint64, piece []byte) error {
	var pieces *parts
	if isOwn := id%2 == uint64(l.lastID+2)%2; isOwn {
		call := l.calls[id]
		if call == nil {
			return l.unasked(id, "part")
		}
		if call.cancelled {
			return nil
		}
		if call.parts == nil {
			if call.streaming {
				if err := call.checkCredit(); err != nil {
					return err
				}
			}
			call.parts = new(parts)
		}
		pieces = call.parts
	} else if pieces = l.assembling[id]; pieces == nil {
		if err := l.checkNew(id); err != nil {
			return err
		}
		pieces = new(parts)
		l.assembling[id] = pieces
	}
	pieces.pieces = append(pieces.pieces, piece)
	pieces.size += len(piece)
	l.assembled += len(piece)
	l.pieces++
	if l.assembled > reassemblyBytes {
		return broken("pieces of more than %d bytes came before they made a whole", reassemblyBytes)
	}
	if l.pieces > maxPieces {
		return broken("more than %d pieces came before they made a whole; send larger ones", maxPieces)
	}
	return nil
}

func (l *Link) join(p *parts, last []byte) []byte {
	l.forget(p)
	return slices.Concat(append(p.pieces, last)...)
}

func (l *Link) receiveEvent(id uint64, event *pb.LinkEvent) error {
	if _, isAnswer := event.GetKind().(*pb.LinkEvent_Answer); isAnswer {
		call := l.incoming[id]
		if call == nil {
			return l.checkOld(id, "answer")
		}
		if _, asks := call.Metadata[AsksKey]; asks && !call.answered {
			l.handler.OnAnswer(call, event)
		}
		return nil
	}
	call := l.calls[id]
	if call == nil {
		return l.unasked(id, "event")
	}
	if _, isAsk := event.GetKind().(*pb.LinkEvent_Ask); isAsk && !l.answers && !call.canAnswer {
		return broken("a question came for the call %d, whose caller cannot answer", id)
	}
	if !call.cancelled {
		l.handler.OnEvent(call, event)
	}
	return nil
}

// checkNew checks and keeps the id of a new call of the peer.
func (l *Link) checkNew(id uint64) error {
	if id > math.MaxInt64 || int64(id) <= l.peerLastID || id%2 != uint64(l.peerLastID+2)%2 {
		return broken("a call came with the number %d; the peer's last one was %d, and numbers rise by two", id, max(l.peerLastID, 0))
	}
	l.peerLastID = int64(id)
	return nil
}

// checkOld checks that the peer once made a call.
func (l *Link) checkOld(id uint64, what string) error {
	if id == 0 || id > math.MaxInt64 || int64(id) > l.peerLastID || id%2 != uint64(l.peerLastID+2)%2 {
		return broken("a %s came for the call %d, which the peer never made", what, id)
	}
	return nil
}

func (l *Link) unasked(id uint64, what string) error {
	if id == 0 || id > math.MaxInt64 || int64(id) > l.lastID || id%2 != uint64(l.lastID+2)%2 {
		return broken("a %s came for the call %d, which was never made", what, id)
	}
	return broken("a %s came for the call %d, which was answered before", what, id)
}
