package toolbridge

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Agent is a ReAct agent that is defined in a session.
type Agent struct {
	// ID identifies it in its session.
	ID      string
	session *Session
}

// AgentOption is an option of Session.CreateAgent.
type AgentOption func(*pb.CreateReActAgentRequest) error

// AgentTools are the tools that an agent may call; by default all that the session sees.
func AgentTools(names ...string) AgentOption {
	return func(r *pb.CreateReActAgentRequest) error {
		r.ToolNames = names
		return nil
	}
}

// MaxIterations is how many steps an agent has before it must answer; by default 5.
func MaxIterations(steps int) AgentOption {
	return func(r *pb.CreateReActAgentRequest) error {
		r.MaxIters = int32(steps)
		return nil
	}
}

// Model are settings of an agent's model, such as "model" and "temperature". They never have a key.
func Model(settings map[string]any) AgentOption {
	return func(r *pb.CreateReActAgentRequest) error {
		r.Config = &pb.AgentConfig{LlmConfig: make(map[string]*anypb.Any, len(settings))}
		for name, setting := range settings {
			packed, err := value.Encode(setting)
			if err != nil {
				return unwritable("the setting "+name, err)
			}
			r.Config.LlmConfig[name] = packed
		}
		return nil
	}
}

// CreateAgent creates an agent by its signature, such as "question -> answer".
func (s *Session) CreateAgent(ctx context.Context, signature string, options ...AgentOption) (*Agent, error) {
	request := &pb.CreateReActAgentRequest{SessionId: s.id, Signature: signature}
	for _, option := range options {
		if err := option(request); err != nil {
			return nil, err
		}
	}
	response := new(pb.CreateReActAgentResponse)
	if err := unary(ctx, s.caller, "CreateReActAgent", request, response); err != nil {
		return nil, err
	}
	return &Agent{ID: response.AgentId, session: s}, nil
}

// Agent returns an agent that was created before.
func (s *Session) Agent(id string) *Agent { return &Agent{ID: id, session: s} }

// Step is a chunk of an agent's run: *Thought, *Action, *Observation or, at the end, *Answer.
type Step interface{ isStep() }

// Thought is what an agent thinks.
type Thought struct {
	Text string
	// Step is counted from 1.
	Step int
}

// Action is a tool that an agent calls.
type Action struct {
	Tool  string
	Input map[string]any
	Step  int
}

// Observation is what a tool gave.
type Observation struct {
	// Output is in the form of package value.
	Output any
	// Err is the tool's error; the run goes on.
	Err  error
	Step int
}

// Answer is the end of a run.
type Answer struct {
	// Outputs are those of the signature, by name.
	Outputs map[string]any
	Steps   int
	// StopReason is "finished", "max_iters", "time" or "tokens".
	StopReason string
}

func (*Thought) isStep()     {}
func (*Action) isStep()      {}
func (*Observation) isStep() {}
func (*Answer) isStep()      {}

// Run is a run of an agent.
type Run struct {
	// ID attaches to the run, also from another client.
	ID      string
	session *Session
	request *pb.ExecuteAgentRequest
}

// Run returns a run of the agent with the inputs of its signature by name; it starts when its steps are read.
func (a *Agent) Run(inputs map[string]any) (*Run, error) {
	fields, err := structpb.NewStruct(inputs)
	if err != nil {
		return nil, invalid("the inputs of an agent must be JSON values: %v", err)
	}
	// Generated here, so that a lost connection does not start a second run.
	id := newID()
	return &Run{id, a.session, &pb.ExecuteAgentRequest{
		SessionId: a.session.id, AgentId: a.ID, RunId: id, Input: fields, Stream: true,
	}}, nil
}

// AttachRun returns a run that was started before; it is read from the step with the number from.
func (s *Session) AttachRun(id string, from int) *Run {
	return &Run{id, s, &pb.ExecuteAgentRequest{SessionId: s.id, RunId: id, Stream: true, FromSequence: int32(from)}}
}

// Cancel cancels the run.
func (r *Run) Cancel(ctx context.Context) error {
	request := &pb.CancelAgentRunRequest{SessionId: r.session.id, RunId: r.ID}
	return unary(ctx, r.session.caller, "CancelAgentRun", request, new(pb.StatusResponse))
}

// Steps starts the run, or attaches to it, and iterates over its steps; the last one is an *Answer. After a lost
// connection it goes on. Breaking the loop cancels a run that was started here.
func (r *Run) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		isOver := false
		err := resumed(ctx, r.session.client != nil, func() (bool, error) {
			before := r.request.FromSequence
			err := messages(ctx, r.session.asking(""), "ExecuteAgent", r.request, func(data []byte) (bool, error) {
				step, err := r.take(data)
				if step == nil || err != nil {
					return err == nil, err
				}
				_, isOver = step.(*Answer)
				return yield(step, nil) && !isOver, nil
			})
			return r.request.FromSequence != before, err
		})
		switch {
		case err != nil && err != errLeft:
			yield(nil, err)
		case err == nil && !isOver:
			yield(nil, protocolError("the run %s ended without a result or an error", r.ID))
		}
	}
}

// take reads a chunk; nil if it was read before.
func (r *Run) take(data []byte) (Step, error) {
	chunk := new(pb.AgentExecutionChunk)
	if err := proto.Unmarshal(data, chunk); err != nil {
		return nil, protocolError("a chunk of the run %s cannot be read: %v", r.ID, err)
	}
	if chunk.Sequence > r.request.FromSequence {
		return nil, protocolError("the run %s has a gap: chunk %d came where %d was due", r.ID, chunk.Sequence, r.request.FromSequence)
	}
	if chunk.Sequence < r.request.FromSequence {
		return nil, nil
	}
	r.request.FromSequence++
	switch content := chunk.Content.(type) {
	case *pb.AgentExecutionChunk_Thought:
		return &Thought{Text: content.Thought.GetText(), Step: int(content.Thought.GetStep())}, nil
	case *pb.AgentExecutionChunk_Action:
		action := content.Action
		return &Action{Tool: action.GetToolName(), Input: action.GetToolInput().AsMap(), Step: int(action.GetStep())}, nil
	case *pb.AgentExecutionChunk_Observation:
		return observationOf(content.Observation)
	case *pb.AgentExecutionChunk_Result:
		result := content.Result
		return &Answer{Outputs: result.GetFinalAnswer().AsMap(), Steps: int(result.GetTotalSteps()), StopReason: result.GetStopReason()}, nil
	case *pb.AgentExecutionChunk_Error:
		return nil, errorOf(content.Error)
	}
	return nil, protocolError("chunk %d of the run %s is empty", chunk.Sequence, r.ID)
}

func observationOf(message *pb.ObservationChunk) (Step, error) {
	observation := &Observation{Step: int(message.GetStep())}
	if message.GetError() != nil {
		observation.Err = errorOf(message.Error)
	}
	if message.GetToolOutput() != nil {
		output, err := value.Decode(message.ToolOutput)
		if err != nil {
			return nil, asError(err)
		}
		observation.Output = output
	}
	return observation, nil
}
