package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

// waitTimeout bounds what the peer waits for: a connection, an update, the tools of its worker.
const waitTimeout = 60 * time.Second

// sessions is one client and one worker at a hub.
type sessions struct {
	client  *toolbridge.Client
	session *toolbridge.Session
	calls   map[string]*startedCall
	updates chan update
	leave   context.CancelFunc

	stopWorker context.CancelFunc
	workerDone chan error
}

type startedCall struct {
	cancel context.CancelFunc
	done   chan struct{}
	result any
	err    error
}

type update struct {
	change *toolbridge.Change
	err    error
}

func newSessions() *sessions { return &sessions{calls: map[string]*startedCall{}} }

// action returns what the peer does at a hub; nil if it does not have it.
func (s *sessions) action(do string) func(*request) (object, error) {
	return map[string]func(*request) (object, error){
		"connect": s.connect, "connect_with_token": s.connect, "call": s.call, "call_with_events": s.callWithEvents, "batch": s.batch, "start": s.start, "cancel": s.cancel, "wait": s.wait, "stream": s.stream,
		"set_variable": s.setVariable, "get_variable": s.getVariable, "delete_variable": s.deleteVariable,
		"list_variables": s.listVariables,
		"watch":          s.watch, "next_update": s.nextUpdate, "run_agent": s.runAgent, "close": s.close,
		"serve": s.serve, "stop_serving": s.stopServing,
	}[do]
}

func (s *sessions) connect(r *request) (object, error) {
	var fields struct {
		Address   string
		SessionID string `json:"session_id"`
		Token     string
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), waitTimeout)
	defer stop()
	client, err := toolbridge.Dial(ctx, fields.Address, toolbridge.WithToken(fields.Token))
	if err != nil {
		return nil, err
	}
	if s.client != nil {
		_ = s.client.Close()
	}
	s.client = client
	if s.session, err = s.client.Session(ctx, fields.SessionID); err != nil {
		return nil, err
	}
	tools, err := s.session.Tools(ctx)
	names := []string{}
	for _, tool := range tools {
		names = append(names, tool.Name)
	}
	return object{"session_id": s.session.ID(), "tools": names}, err
}

// callFields are those of call, start and stream.
type callFields struct {
	Call      string
	Tool      string
	Args      []*meaning
	Kwargs    map[string]*meaning
	TimeoutMS int `json:"timeout_ms"`
	Take      int
}

func (s *sessions) read(r *request) (*callFields, []any, error) {
	fields := new(callFields)
	if err := r.read(fields); err != nil {
		return nil, nil, err
	}
	if s.session == nil {
		return nil, nil, fmt.Errorf("connect first")
	}
	var args []any
	for _, arg := range fields.Args {
		v, err := arg.realize()
		if err != nil {
			return nil, nil, err
		}
		args = append(args, v)
	}
	named := toolbridge.Args{}
	for name, arg := range fields.Kwargs {
		v, err := arg.realize()
		if err != nil {
			return nil, nil, err
		}
		named[name] = v
	}
	return fields, append(args, named), nil
}

func (f *callFields) context() (context.Context, context.CancelFunc) {
	if f.TimeoutMS == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(f.TimeoutMS)*time.Millisecond)
}

func (s *sessions) call(r *request) (object, error) {
	fields, args, err := s.read(r)
	if err != nil {
		return nil, err
	}
	ctx, stop := fields.context()
	defer stop()
	result, err := s.session.Call(ctx, fields.Tool, args...)
	if err != nil {
		return nil, err
	}
	return object{"meaning": describe(result)}, nil
}

func (s *sessions) callWithEvents(r *request) (object, error) {
	fields, args, err := s.read(r)
	if err != nil {
		return nil, err
	}
	ctx, stop := fields.context()
	defer stop()
	progress, logs := []object{}, []object{}
	session := s.session.With(toolbridge.OnEvent(func(event toolbridge.Event) {
		switch event := event.(type) {
		case *toolbridge.Progress:
			progress = append(progress, object{"current": event.Current, "total": event.Total, "message": event.Message})
		case *toolbridge.LogRecord:
			level := map[slog.Level]string{
				slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warning", slog.LevelError: "error",
			}[event.Level]
			logs = append(logs, object{"level": level, "message": event.Message, "fields": event.Fields})
		}
	}))
	result, err := session.Call(ctx, fields.Tool, args...)
	if err != nil {
		return nil, err
	}
	return object{"meaning": describe(result), "progress": progress, "logs": logs}, nil
}

func (s *sessions) batch(r *request) (object, error) {
	var fields struct{ Items []json.RawMessage }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	items := make([]toolbridge.Item, len(fields.Items))
	for i, item := range fields.Items {
		given, args, err := s.read(&request{raw: item})
		if err != nil {
			return nil, err
		}
		items[i] = toolbridge.Item{Tool: given.Tool, Args: args}
	}
	results, err := s.session.Batch(context.Background(), items)
	if err != nil {
		return nil, err
	}
	answers := make([]object, len(results))
	for i := range results {
		if v, err := results[i].Value(); err != nil {
			answers[i] = object{"error": written(err)}
		} else {
			answers[i] = object{"meaning": describe(v)}
		}
	}
	return object{"items": answers}, nil
}

func (s *sessions) start(r *request) (object, error) {
	fields, args, err := s.read(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := fields.context()
	started := &startedCall{cancel: cancel, done: make(chan struct{})}
	s.calls[fields.Call] = started
	go func() {
		defer close(started.done)
		defer cancel()
		started.result, started.err = s.session.Call(ctx, fields.Tool, args...)
	}()
	return object{}, nil
}

func (s *sessions) started(r *request) (*startedCall, error) {
	var fields struct{ Call string }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	if started := s.calls[fields.Call]; started != nil {
		return started, nil
	}
	return nil, fmt.Errorf("no call %q was started", fields.Call)
}

func (s *sessions) cancel(r *request) (object, error) {
	started, err := s.started(r)
	if err == nil {
		started.cancel()
	}
	return object{}, err
}

func (s *sessions) wait(r *request) (object, error) {
	started, err := s.started(r)
	if err != nil {
		return nil, err
	}
	<-started.done
	if started.err != nil {
		return nil, started.err
	}
	return object{"meaning": describe(started.result)}, nil
}

func (s *sessions) stream(r *request) (object, error) {
	fields, args, err := s.read(r)
	if err != nil {
		return nil, err
	}
	ctx, stop := fields.context()
	defer stop()
	items := []object{}
	for item, err := range s.session.Stream(ctx, fields.Tool, args...) {
		if err != nil {
			return nil, err
		}
		items = append(items, describe(item))
		if len(items) == fields.Take {
			break
		}
	}
	return object{"items": items}, nil
}

// variableFields are those of the actions on variables.
type variableFields struct {
	Name             string
	Meaning          *meaning
	ExpectedRevision *uint64 `json:"expected_revision"`
}

func (s *sessions) setVariable(r *request) (object, error) {
	var fields variableFields
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	v, err := fields.Meaning.realize()
	if err != nil {
		return nil, err
	}
	var options []toolbridge.SetOption
	if fields.ExpectedRevision != nil {
		options = append(options, toolbridge.IfRevision(*fields.ExpectedRevision))
	}
	revision, err := s.session.Set(context.Background(), fields.Name, v, options...)
	return object{"revision": revision}, err
}

func (s *sessions) getVariable(r *request) (object, error) {
	var fields variableFields
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	v, err := s.session.Get(context.Background(), fields.Name)
	if err != nil {
		return nil, err
	}
	return object{"meaning": describe(v)}, nil
}

func (s *sessions) deleteVariable(r *request) (object, error) {
	var fields variableFields
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	return object{}, s.session.Delete(context.Background(), fields.Name)
}

func (s *sessions) listVariables(r *request) (object, error) {
	var fields struct{ Prefix string }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	variables, err := s.session.Variables(context.Background(), fields.Prefix)
	names := []string{}
	for _, variable := range variables {
		names = append(names, variable.Name)
	}
	return object{"names": names}, err
}

func (s *sessions) watch(r *request) (object, error) {
	var fields struct{ Names []string }
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	ctx, leave := context.WithCancel(context.Background())
	s.leave = leave
	s.updates = make(chan update)
	go func() {
		for change, err := range s.session.Watch(ctx, fields.Names...) {
			select {
			case s.updates <- update{change, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return object{}, nil
}

func (s *sessions) nextUpdate(*request) (object, error) {
	select {
	case next := <-s.updates:
		if next.err != nil {
			return nil, next.err
		}
		v, err := next.change.Value()
		if err != nil {
			return nil, err
		}
		return object{"name": next.change.Name, "operation": next.change.Operation, "meaning": describe(v)}, nil
	case <-time.After(waitTimeout):
		return nil, fmt.Errorf("no update came within %v", waitTimeout)
	}
}

func (s *sessions) runAgent(r *request) (object, error) {
	var fields struct {
		Signature string
		Input     map[string]any
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), waitTimeout)
	defer stop()
	agent, err := s.session.CreateAgent(ctx, fields.Signature)
	if err != nil {
		return nil, err
	}
	run, err := agent.Run(fields.Input)
	if err != nil {
		return nil, err
	}
	chunks := []string{}
	answer := map[string]any{}
	for step, err := range run.Steps(ctx) {
		if err != nil {
			return nil, err
		}
		switch step := step.(type) {
		case *toolbridge.Thought:
			chunks = append(chunks, "thought")
		case *toolbridge.Action:
			chunks = append(chunks, "action")
		case *toolbridge.Observation:
			chunks = append(chunks, "observation")
		case *toolbridge.Answer:
			chunks = append(chunks, "result")
			answer = step.Outputs
		}
	}
	return object{"chunks": chunks, "answer": answer}, nil
}

func (s *sessions) close(*request) (object, error) {
	if s.leave != nil {
		s.leave()
	}
	return object{}, s.client.Close()
}

// -------------------------------------------------------------------------------------------------------- the worker

type echoArgs struct {
	Value any `json:"value"`
}

type failArgs struct {
	Message string `json:"message"`
}

type countArgs struct {
	To int `json:"to"`
}

type nameArgs struct {
	Name string `json:"name"`
}

func tools() []*toolbridge.Definition {
	return []*toolbridge.Definition{
		toolbridge.Tool("peer_echo", "Returns its argument.", func(_ context.Context, in echoArgs) (any, error) {
			return in.Value, nil
		}),
		toolbridge.Tool("peer_fail", "Fails with a ValueError.", func(_ context.Context, in failArgs) (any, error) {
			return nil, toolbridge.Errorf("ValueError", "%s", in.Message)
		}),
		toolbridge.StreamTool("peer_count", "Yields the numbers below to.",
			func(_ context.Context, in countArgs, send func(int) error) error {
				for number := range in.To {
					if err := send(number); err != nil {
						return err
					}
				}
				return nil
			}),
		toolbridge.Tool("peer_wait", "Waits until it is cancelled.", func(ctx context.Context, _ struct{}) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
		toolbridge.Tool("peer_nested", "Calls the hub's echo.", func(ctx context.Context, in echoArgs) (any, error) {
			return toolbridge.FromContext(ctx).Session().Call(ctx, "echo", in.Value)
		}),
		toolbridge.Tool("peer_report", "Reports its progress.", func(ctx context.Context, _ struct{}) (string, error) {
			call := toolbridge.FromContext(ctx)
			call.Progress(1, 2, "half")
			call.Log(slog.LevelWarn, "halfway")
			return "done", nil
		}),
		toolbridge.Tool("peer_variable", "Returns a variable.", func(ctx context.Context, in nameArgs) (any, error) {
			return toolbridge.FromContext(ctx).Session().Get(ctx, in.Name)
		}),
	}
}

func (s *sessions) serve(r *request) (object, error) {
	var fields struct {
		Address  string
		WorkerID string `json:"worker_id"`
		Capacity int
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	worker := toolbridge.NewWorker(fields.Address, toolbridge.WithWorkerID(fields.WorkerID), toolbridge.WithCapacity(fields.Capacity))
	worker.Add(tools()...)
	ctx, stop := context.WithCancel(context.Background())
	s.stopWorker, s.workerDone = stop, make(chan error, 1)
	go func() { s.workerDone <- worker.Run(ctx) }()
	select {
	case <-worker.Ready():
		return object{}, nil
	case err := <-s.workerDone:
		return nil, err
	}
}

func (s *sessions) stopServing(*request) (object, error) {
	if s.stopWorker == nil {
		return nil, fmt.Errorf("serve first")
	}
	s.stopWorker()
	return object{}, <-s.workerDone
}
