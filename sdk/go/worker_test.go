package toolbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

type outOfStock struct{ Left int }

func (e *outOfStock) Error() string { return fmt.Sprintf("only %d left", e.Left) }

// none is indexed beyond its end.
var none []error

func TestWhatAToolReturnsOrPanicsWithIsItsError(t *testing.T) {
	failing := func(name string, fail func() error) *toolbridge.Definition {
		return toolbridge.Tool(name, "Fails.", func(context.Context, struct{}) (any, error) { return nil, fail() })
	}
	startWorker(t, hub.Address,
		failing("fail_typed", func() error { return fmt.Errorf("ordering: %w", &outOfStock{3}) }),
		failing("fail_plain", func() error { return errors.New("plain") }),
		failing("fail_own", func() error { return toolbridge.Errorf("KeyError", "no %s", "x") }),
		failing("panic_text", func() error { panic("oh no") }),
		failing("panic_runtime", func() error { return none[len(none)] }),
	)
	session, ctx := newSession(t, hub.Address), testContext(t)
	for tool, want := range map[string][2]string{
		"fail_typed":    {"outOfStock", "ordering: only 3 left"},
		"fail_plain":    {"Error", "plain"},
		"fail_own":      {"KeyError", "no x"},
		"panic_text":    {"panic", "oh no"},
		"panic_runtime": {"boundsError", "runtime error: index out of range [0] with length 0"},
	} {
		_, err := session.Call(ctx, tool)
		var own *toolbridge.Error
		if !errors.As(err, &own) || own.Type != want[0] || own.Message != want[1] || own.Origin != "tool" {
			t.Errorf("%s gave %+v", tool, err)
		}
		if strings.HasPrefix(tool, "panic") && !strings.Contains(own.Stack, "worker_test.go") {
			t.Errorf("%s gave the stack %q", tool, own.Stack)
		}
	}
}

type orderArgs struct {
	Item  string   `json:"item" doc:"what is ordered"`
	Count int      `json:"count" default:"1" min:"1" max:"10"`
	Size  string   `json:"size" enum:"small,large" default:"small"`
	Note  *string  `json:"note"`
	Tags  []string `json:"tags,omitempty"`
}

func orderTool() *toolbridge.Definition {
	return toolbridge.Tool("order", "Orders.", func(_ context.Context, in orderArgs) (string, error) {
		return fmt.Sprintf("%d %s %s %v %v", in.Count, in.Size, in.Item, in.Note == nil, in.Tags), nil
	})
}

func TestArgumentsHaveDefaultsAndRules(t *testing.T) {
	startWorker(t, hub.Address, orderTool())
	session, ctx := newSession(t, hub.Address), testContext(t)
	got, err := toolbridge.Call[string](ctx, session, "order", "tea")
	if err != nil || got != "1 small tea true []" {
		t.Errorf("the defaults gave %q, %v", got, err)
	}
	got, err = toolbridge.Call[string](ctx, session, "order", toolbridge.Args{"item": "tea", "count": 2, "size": "large", "note": "now", "tags": []string{"a"}})
	if err != nil || got != "2 large tea false [a]" {
		t.Errorf("all arguments gave %q, %v", got, err)
	}
	for _, args := range []toolbridge.Args{{}, {"item": 3}, {"item": "tea", "count": 11}, {"item": "tea", "size": "huge"}, {"item": "tea", "colour": "red"}} {
		if _, err := session.Call(ctx, "order", args); !errors.Is(err, toolbridge.ErrValidation) {
			t.Errorf("%v gave %v", args, err)
		}
	}
}

func TestAToolCallsTheHubWithinItsCall(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("nest", "Calls add, and sets a variable.", func(ctx context.Context, in addArgs) (int, error) {
		session := toolbridge.FromContext(ctx).Session()
		sum, err := toolbridge.Call[int](ctx, session, "add", in.A, in.B)
		if err == nil {
			_, err = session.Set(ctx, "sum", sum)
		}
		return sum, err
	}))
	session, ctx := newSession(t, hub.Address), testContext(t)
	if sum, err := toolbridge.Call[int](ctx, session, "nest", 2, 3); err != nil || sum != 5 {
		t.Fatalf("it gave %d, %v", sum, err)
	}
	if sum, err := toolbridge.Get[int](ctx, session, "sum"); err != nil || sum != 5 {
		t.Errorf("the variable is %d, %v", sum, err)
	}
}

func TestANestedCallRunsOnAWorkerThatIsFull(t *testing.T) {
	worker := toolbridge.NewWorker(hub.Address, toolbridge.WithCapacity(1))
	worker.Add(
		toolbridge.Tool("outer", "Calls inner.", func(ctx context.Context, _ struct{}) (int, error) {
			return toolbridge.Call[int](ctx, toolbridge.FromContext(ctx).Session(), "inner")
		}),
		toolbridge.Tool("inner", "Answers.", func(context.Context, struct{}) (int, error) { return 7, nil }),
	)
	serve(t, worker)
	if got, err := toolbridge.Call[int](testContext(t), newSession(t, hub.Address), "outer"); err != nil || got != 7 {
		t.Errorf("it gave %d, %v", got, err)
	}
}

func TestANestedErrorIsTheToolsOwn(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("nest_wrong", "Calls what there is not.", func(ctx context.Context, _ struct{}) (any, error) {
		return toolbridge.FromContext(ctx).Session().Call(ctx, "no_such_tool")
	}))
	_, err := newSession(t, hub.Address).Call(testContext(t), "nest_wrong")
	var own *toolbridge.Error
	if !errors.As(err, &own) || own.Type != "ToolNotFound" || own.Origin != "tool" || errors.Is(err, toolbridge.ErrToolNotFound) {
		t.Errorf("the error is %+v", err)
	}
}

func TestACallerGetsItsTimeoutFromAToolThatDoesNotHeedIt(t *testing.T) {
	release := make(chan struct{})
	started := make(chan time.Duration, 1)
	startWorker(t, hub.Address, toolbridge.Tool("deaf", "Ignores its context.", func(ctx context.Context, _ struct{}) (any, error) {
		started <- toolbridge.TimeLeft(ctx)
		<-release
		return nil, nil
	}, toolbridge.Timeout(100*time.Millisecond)))
	defer close(release)
	_, err := newSession(t, hub.Address).Call(testContext(t), "deaf")
	if !errors.Is(err, toolbridge.ErrTimeout) || !strings.Contains(err.Error(), "may have taken effect") {
		t.Errorf("the error is %v", err)
	}
	if left := <-started; left > 100*time.Millisecond {
		t.Errorf("the tool had %v", left)
	}
}

func TestAStreamSendsProgressAndLogsWhereTheyAreWanted(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("tell", "Tells.", func(ctx context.Context, _ struct{}) (string, error) {
		call := toolbridge.FromContext(ctx)
		call.Progress(1, 2, "half")
		call.Log(slog.LevelWarn, "halfway", "step", 3)
		return "done", nil
	}))
	var events []string
	session := newSession(t, hub.Address).With(toolbridge.OnEvent(func(event toolbridge.Event) {
		switch event := event.(type) {
		case *toolbridge.Progress:
			events = append(events, fmt.Sprint(event.Current, "/", event.Total, " ", event.Message))
		case *toolbridge.LogRecord:
			events = append(events, fmt.Sprint(event.Level, " ", event.Message, " ", event.Fields["step"]))
		}
	}))
	got, err := toolbridge.Call[string](testContext(t), session, "tell")
	if err != nil || got != "done" || strings.Join(events, "; ") != "1/2 half; WARN halfway 3" {
		t.Errorf("it gave %q, %v and the events %q", got, err, events)
	}
}

func TestAWorkerThatStopsFinishesItsCalls(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	worker := toolbridge.NewWorker(hub.Address)
	worker.Add(toolbridge.Tool("finish_me", "Waits.", func(context.Context, struct{}) (string, error) {
		close(running)
		<-release
		return "finished", nil
	}))
	stop := serve(t, worker)
	session, ctx := newSession(t, hub.Address), testContext(t)
	answered := make(chan error, 1)
	go func() {
		got, err := toolbridge.Call[string](ctx, session, "finish_me")
		if err == nil && got != "finished" {
			err = errors.New(got)
		}
		answered <- err
	}()
	await(t, running, "the start of the tool")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if err := await(t, answered, "the answer"); err != nil {
		t.Error(err)
	}
	if err := await(t, stopped, "the end of the worker"); err != nil {
		t.Error(err)
	}
}

func TestAWorkerThatStopsCancelsWhatDoesNotEndInItsGrace(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	worker := toolbridge.NewWorker(hub.Address, toolbridge.WithShutdownGrace(time.Millisecond))
	worker.Add(toolbridge.Tool("cut_me_off", "Ignores its context.", func(context.Context, struct{}) (any, error) {
		close(running)
		<-release
		return nil, nil
	}))
	stop := serve(t, worker)
	answered := make(chan error, 1)
	session, ctx := newSession(t, hub.Address), testContext(t)
	go func() {
		_, err := session.Call(ctx, "cut_me_off")
		answered <- err
	}()
	await(t, running, "the start of the tool")
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := await(t, answered, "the answer"); !errors.Is(err, toolbridge.ErrCancelled) || !strings.Contains(err.Error(), "its worker leaves") {
		t.Errorf("the call gave %v", err)
	}
}

func TestAWorkerRegistersAgainAfterItsConnectionWasLost(t *testing.T) {
	proxy := newProxy(t, hub.Address)
	startWorker(t, proxy.Address, toolbridge.Tool("again", "Answers.", func(context.Context, struct{}) (int, error) { return 7, nil },
		toolbridge.Idempotent()))
	proxy.Cut()
	if got, err := toolbridge.Call[int](testContext(t), newSession(t, hub.Address), "again"); err != nil || got != 7 {
		t.Errorf("it gave %d, %v", got, err)
	}
}

func TestAWorkerWhoseNameIsTakenEnds(t *testing.T) {
	worker := toolbridge.NewWorker(hub.Address)
	worker.Add(toolbridge.Tool("add", "Taken by the hub.", func(context.Context, orderArgs) (int, error) { return 0, nil }))
	err := worker.Run(testContext(t))
	if !errors.Is(err, toolbridge.ErrAlreadyExists) {
		t.Errorf("it ended with %v", err)
	}
	if err := worker.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "runs only once") {
		t.Errorf("running it again gave %v", err)
	}
}

func TestToolsOfASessionAreItsOwn(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	worker := toolbridge.NewWorker(hub.Address, toolbridge.WithSessionID(session.ID()))
	worker.Add(toolbridge.Tool("private", "Answers.", func(context.Context, struct{}) (int, error) { return 7, nil }))
	serve(t, worker)
	if got, err := toolbridge.Call[int](ctx, session, "private"); err != nil || got != 7 {
		t.Errorf("it gave %d, %v", got, err)
	}
	if _, err := newSession(t, hub.Address).Call(ctx, "private"); !errors.Is(err, toolbridge.ErrToolNotFound) {
		t.Errorf("another session gave %v", err)
	}
}

func TestATypedResultThatCannotTravelIsAnError(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("unsendable", "Returns a function.", func(context.Context, struct{}) (any, error) {
		return func() {}, nil
	}))
	_, err := newSession(t, hub.Address).Call(testContext(t), "unsendable")
	var own *toolbridge.Error
	if !errors.As(err, &own) || own.Type != "SerializationError" {
		t.Errorf("the error is %v", err)
	}
}

func TestWrongToolsPanicWhereTheyAreMade(t *testing.T) {
	for name, make := range map[string]func(){
		"an input that is no struct": func() { toolbridge.Tool("t", "", func(context.Context, int) (int, error) { return 0, nil }) },
		"a wrong default": func() {
			toolbridge.Tool("t", "", func(context.Context, struct {
				N int `default:"many"`
			}) (int, error) {
				return 0, nil
			})
		},
		"two tools of one name": func() { toolbridge.NewWorker("").Add(orderTool(), orderTool()) },
		"a context of no tool":  func() { toolbridge.FromContext(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if reason := recover(); reason == nil {
					t.Error("it did not panic")
				}
			}()
			make()
		})
	}
}

// rude is a value whose methods panic.
type rude struct{}

func (rude) MarshalText() ([]byte, error)  { panic("no text") }
func (*rude) UnmarshalText(_ []byte) error { panic("no value") }

func TestWhatAToolDoesToItsGoroutineEndsItsCallAndNothingElse(t *testing.T) {
	var noError *toolbridge.Error
	tool := func(name string, run func() (any, error)) *toolbridge.Definition {
		return toolbridge.Tool(name, "Misbehaves.", func(context.Context, struct{}) (any, error) { return run() })
	}
	startWorker(t, hub.Address,
		tool("go_rude_result", func() (any, error) { return rude{}, nil }),
		tool("go_exit", func() (any, error) { runtime.Goexit(); return nil, nil }),
		tool("go_nil_error", func() (any, error) { return nil, noError }),
		tool("go_nil_pointer", func() (any, error) { return *(*any)(nil), nil }),
		tool("go_long_error", func() (any, error) { return nil, errors.New(strings.Repeat("x", 20<<20)) }),
		toolbridge.Tool("go_rude_argument", "Takes a value.", func(_ context.Context, in struct {
			Value rude `json:"value"`
		}) (any, error) {
			return nil, nil
		}),
		toolbridge.StreamTool("go_rude_values", "Sends values.", func(_ context.Context, _ struct{}, send func(rude) error) error {
			return send(rude{})
		}))
	session, ctx := newSession(t, hub.Address), testContext(t)
	for tool, want := range map[string]string{
		"go_rude_result": "no text", "go_rude_values": "no text", "go_rude_argument": "no value",
		"go_exit": "ended its goroutine", "go_nil_error": "no nil error", "go_nil_pointer": "RuntimeError", "go_long_error": "xxx…",
	} {
		var args []any
		if tool == "go_rude_argument" {
			args = []any{"a text"}
		}
		_, err := session.Call(ctx, tool, args...)
		var own *toolbridge.Error
		if !errors.As(err, &own) || own.Origin != "tool" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %.300v", tool, err)
		}
		for _, err = range session.Stream(ctx, tool, args...) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the stream of %s gave %.300v", tool, err)
			}
		}
	}
}

func TestAStreamWithoutEndIsNotCollected(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.StreamTool("go_endless", "Never ends.",
		func(_ context.Context, _ struct{}, send func(bool) error) error {
			for {
				if err := send(true); err != nil {
					return err
				}
			}
		}))
	_, err := newSession(t, hub.Address).Call(testContext(t), "go_endless")
	if !errors.Is(err, toolbridge.ErrMessageTooLarge) && !errors.Is(err, toolbridge.ErrTimeout) {
		t.Errorf("it gave %v", err)
	}
}
