package conn

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// maxQuestions of one call may wait for their answers.
const maxQuestions = 100

// Answer answers a question of a tool; its error ends the call. The id of the answer is set afterwards.
type Answer func(ctx context.Context, ask *pb.Ask) (*pb.Answer, error)

// questions are those that a call of this end was asked; nil if they are not answered.
type questions struct {
	ctx    context.Context
	stop   context.CancelFunc
	answer Answer
	open   int
}

func newQuestions(ctx context.Context, answer Answer) *questions {
	if answer == nil {
		return nil
	}
	q := &questions{answer: answer}
	q.ctx, q.stop = context.WithCancel(ctx)
	return q
}

// close ends the answers in progress.
func (q *questions) close() {
	if q != nil {
		q.stop()
	}
}

// take answers a question; the connection is locked.
func (q *questions) take(c *Conn, call *link.Call, ask *pb.Ask) {
	if q == nil {
		return
	}
	if q.open == maxQuestions {
		c.abandon(call, &Failure{
			Code: codes.Internal, Message: fmt.Sprintf("the hub asks more than %d questions at once for one call", maxQuestions),
		})
		return
	}
	q.open++
	go func() {
		answer, err := q.answer(q.ctx, ask)
		c.mu.Lock()
		q.open--
		if err != nil {
			c.abandon(call, err)
		} else {
			answer.Id = ask.Id
			c.link.Answer(call, &pb.LinkEvent{Kind: &pb.LinkEvent_Answer{Answer: answer}})
		}
		c.mu.Unlock()
		c.flush()
	}()
}

// abandon fails a call of this end and cancels it; the connection is locked.
func (c *Conn) abandon(call *link.Call, err error) {
	call.Owner.(*pending).finish(nil, err)
	c.link.Cancel(call, "its question was not answered")
	c.giveRoom()
}

// Ask asks the caller of the call, who can answer, and waits for that. Its error is a *link.Error if too many questions
// wait, and what ended the call otherwise.
func (s *Served) Ask(ctx context.Context, ask *pb.Ask) (*pb.Answer, error) {
	answered := make(chan *pb.Answer, 1)
	err := s.act(func() error {
		if len(s.asked) == maxQuestions {
			return &link.Error{Type: "ResourceExhausted", Message: fmt.Sprintf(
				"%d questions of this call wait for their answers, which is the limit; ask fewer", maxQuestions)}
		}
		if s.asked == nil {
			s.asked = map[string]chan<- *pb.Answer{}
		}
		s.questions++
		ask.Id = strconv.Itoa(s.questions)
		s.asked[ask.Id] = answered
		s.conn.link.Tell(s.call, &pb.LinkEvent{Kind: &pb.LinkEvent_Ask{Ask: ask}})
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		s.conn.mu.Lock()
		delete(s.asked, ask.Id)
		s.conn.mu.Unlock()
	}()
	select {
	case answer := <-answered:
		return answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.Context.Done():
		return nil, context.Cause(s.Context)
	}
}

// takeAnswer takes the answer to a question, and drops that to one that is not open; the connection is locked.
func (s *Served) takeAnswer(answer *pb.Answer) {
	if answered, found := s.asked[answer.GetId()]; found {
		delete(s.asked, answer.Id)
		answered <- answer
	}
}
