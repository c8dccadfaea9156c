package conn

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

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

func (h *handler) OnAnswer(call *link.Incoming, event *pb.LinkEvent) {
	call.Owner.(*Served).takeAnswer(event.GetAnswer())
}

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

func (h *handler) OnEvent(call *link.Call, event *pb.LinkEvent) {
	if ask := event.GetAsk(); ask != nil {
		call.Owner.(*pending).questions.take((*Conn)(h), call, ask)
	}
}

func (h *handler) OnPong(uint64) {}

func (h *handler) OnDrain(uint32) { (*Conn)(h).markUnusable() }
