package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// maxPayload bytes of a payload are reported as they are, of a longer one the size and the hash.
const maxPayload = 4096

type step struct {
	Feed  *[]byte
	Times *int
	Acts  []act
}

type act struct {
	Do            string
	ID            uint64 `json:"id"`
	Method        string
	Payload       []byte
	Zeros         *int
	TimeoutMS     uint32 `json:"timeout_ms"`
	Metadata      map[string]string
	InitialCredit uint32 `json:"initial_credit"`
	Streaming     bool
	Reason        string
	Bytes         int
	Code          int32
	Message       string
	Error         []byte
	EventMessage  []byte `json:"event_message"`
	Number        uint64
	GraceMS       uint32 `json:"grace_ms"`
}

func (a *act) payload() []byte {
	if a.Zeros != nil {
		return make([]byte, *a.Zeros)
	}
	return a.Payload
}

// player is one end of a link, driven by the steps of a transcript.
type player struct {
	link     *link.Link
	events   []object
	incoming map[uint64]*link.Incoming
	outgoing []*link.Call
}

func playLink(r *request) (object, error) {
	var fields struct {
		Role  string
		Hello struct {
			Peer     string
			Capacity uint32
			Features []string
			Metadata map[string]string
		}
		Steps []step
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	given := fields.Hello
	p := &player{incoming: map[uint64]*link.Incoming{}}
	p.link = link.New(fields.Role == "hub", &pb.LinkHello{
		Peer: given.Peer, Capacity: given.Capacity, Features: given.Features, Metadata: given.Metadata,
	}, p)
	results := []object{}
	for i := range fields.Steps {
		result, err := p.play(&fields.Steps[i])
		if err != nil {
			return nil, err
		}
		results = append(results, result)
		if result["failed"] != nil {
			break
		}
	}
	return object{"steps": results}, nil
}

func (p *player) play(s *step) (object, error) {
	result := object{}
	p.events = []object{}
	if s.Feed != nil {
		times := 1
		if s.Times != nil {
			times = *s.Times
		}
		for range times {
			if err := p.link.Receive(*s.Feed); err != nil {
				return object{"frames": []string{}, "events": []object{}, "failed": typeOf(err)}, nil
			}
		}
	}
	for i := range s.Acts {
		if err := p.act(&s.Acts[i]); err != nil {
			name := typeOf(err)
			if name == "" {
				return nil, err
			}
			result["raised"] = name
		}
	}
	frames := []string{}
	for p.link.HasOutput() {
		// A lane that waits for its turn gives an empty one.
		if frame := p.link.NextFrame(); len(frame) > 0 {
			frames = append(frames, text(frame))
		}
	}
	result["frames"], result["events"] = frames, p.events
	return result, nil
}

func typeOf(err error) string {
	var own *link.Error
	if errors.As(err, &own) {
		return own.Type
	}
	return ""
}

func (p *player) act(a *act) error {
	switch a.Do {
	case "call":
		call := link.NewCall(a.Method, a.payload(), a.TimeoutMS, a.Metadata)
		if a.Streaming {
			call = link.NewStream(a.Method, a.payload(), a.TimeoutMS, a.Metadata, a.InitialCredit)
		}
		if err := p.link.Start(call); err != nil {
			return err
		}
		p.outgoing = append(p.outgoing, call)
	case "cancel":
		p.link.Cancel(p.own(a), a.Reason)
	case "consume":
		p.link.Consume(p.own(a), a.Bytes)
	case "reply":
		return p.link.Reply(p.incoming[a.ID], a.payload())
	case "chunk":
		return p.link.Chunk(p.incoming[a.ID], a.payload())
	case "end":
		status := &pb.LinkStatus{Code: a.Code, Message: a.Message}
		if len(a.Error) > 0 {
			status.Error = new(pb.ErrorInfo)
			if err := proto.Unmarshal(a.Error, status.Error); err != nil {
				return err
			}
		}
		p.link.End(p.incoming[a.ID], status)
	case "event":
		event := new(pb.LinkEvent)
		if err := proto.Unmarshal(a.EventMessage, event); err != nil {
			return err
		}
		if call := p.incoming[a.ID]; call != nil {
			p.link.Tell(call, event)
		} else {
			p.link.Answer(p.own(a), event)
		}
	case "ping":
		p.link.Ping()
	case "drain":
		p.link.Drain(a.GraceMS)
	default:
		return fmt.Errorf("%q is no act", a.Do)
	}
	return nil
}

// own returns a call of this end. It has no id until it is sent: then it is the latest.
func (p *player) own(a *act) *link.Call {
	for _, call := range p.outgoing {
		if call.ID() == a.ID {
			return call
		}
	}
	return p.outgoing[len(p.outgoing)-1]
}

func (p *player) report(kind string, fields object) {
	fields["event"] = kind
	p.events = append(p.events, fields)
}

func shortened(payload []byte) any {
	if len(payload) <= maxPayload {
		return text(payload)
	}
	hash := sha256.Sum256(payload)
	return object{"size": len(payload), "sha256": hex.EncodeToString(hash[:])}
}

func encoded(message proto.Message) string {
	data, err := proto.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text(data)
}

func (p *player) OnHello(hello *pb.LinkHello) {
	p.report("hello", object{
		"peer": hello.Peer, "capacity": hello.Capacity, "features": hello.Features, "metadata": hello.Metadata,
	})
}

func (p *player) OnCall(call *link.Incoming) {
	p.incoming[call.ID] = call
	p.report("call", object{
		"id": call.ID, "method": call.Method, "payload": shortened(call.Payload), "timeout_ms": call.TimeoutMS,
		"metadata": call.Metadata, "initial_credit": call.Credit(),
	})
}

func (p *player) OnCancel(call *link.Incoming, reason string) {
	p.report("cancel", object{"id": call.ID, "reason": reason})
}

func (p *player) OnAnswer(call *link.Incoming, event *pb.LinkEvent) {
	p.report("event", object{"id": call.ID, "event_message": encoded(event)})
}

func (p *player) OnReply(call *link.Call, payload []byte) {
	p.report("reply", object{"id": call.ID(), "payload": shortened(payload)})
}

func (p *player) OnMessage(call *link.Call, payload []byte) {
	p.report("chunk", object{"id": call.ID(), "payload": shortened(payload)})
}

func (p *player) OnEnd(call *link.Call, status *pb.LinkStatus) {
	fields := object{"id": call.ID(), "code": status.GetCode(), "message": status.GetMessage()}
	if status.GetError() != nil {
		fields["error"] = encoded(status.Error)
	}
	p.report("end", fields)
}

func (p *player) OnEvent(call *link.Call, event *pb.LinkEvent) {
	p.report("event", object{"id": call.ID(), "event_message": encoded(event)})
}

func (p *player) OnPong(number uint64) { p.report("pong", object{"number": number}) }

func (p *player) OnDrain(graceMS uint32) { p.report("drain", object{"grace_ms": graceMS}) }
