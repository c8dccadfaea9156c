package conn

import (
	"context"
	"fmt"
	"time"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

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
	linkID string
	call   *link.Incoming
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
	// asked are the open questions by their ids; questions is how many there were.
	asked     map[string]chan<- *pb.Answer
	questions int
}

func newServed(c *Conn, call *link.Incoming) *Served {
	s := &Served{Method: call.Method, Payload: call.Payload, Metadata: call.Metadata, conn: c, call: call}
	s.linkID = c.link.Peer.GetMetadata()["link_id"]
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

// maxLinkID characters of a link's id are part of the ids of its calls.
const maxLinkID = 64

// RequestID returns the id that the call has if its caller gave none. The hub makes the same one of the id of the link,
// which it says in its hello, and of the call's number; it is empty if the hub says none.
func (s *Served) RequestID() string {
	id := []rune(s.linkID)
	if len(id) == 0 {
		return ""
	}
	return fmt.Sprintf("%s-%d", string(id[:min(len(id), maxLinkID)]), s.call.ID)
}

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
