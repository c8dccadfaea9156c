package toolbridge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

type askForm struct {
	Reason string   `json:"reason" doc:"for the log"`
	Keep   int      `json:"keep" default:"2" min:"0" max:"9"`
	Mode   string   `json:"mode,omitempty" enum:"fast,safe"`
	Share  *float64 `json:"share"`
	Sure   bool     `json:"sure,omitempty"`
}

// askTool asks its caller, and says what it got.
func askTool(name string) *toolbridge.Definition {
	return toolbridge.Tool(name, "Asks.", func(ctx context.Context, _ struct{}) (string, error) {
		var form askForm
		decision, err := toolbridge.Ask(ctx, "Delete 3 files?", &form)
		if err != nil {
			return "", err
		}
		share := "none"
		if form.Share != nil {
			share = fmt.Sprint(*form.Share)
		}
		return fmt.Sprintf("%s %s %d %s %s %t", decision, form.Reason, form.Keep, form.Mode, share, form.Sure), nil
	})
}

// askingSession returns a session whose client answers with what answer returns.
func askingSession(t *testing.T, answer toolbridge.OnAsk) *toolbridge.Session {
	t.Helper()
	session, err := newClient(t, hub.Address, toolbridge.WithOnAsk(answer)).Session(testContext(t), "")
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func accepting(content any) toolbridge.OnAsk {
	return func(context.Context, *toolbridge.Question) (*toolbridge.Reply, error) {
		return &toolbridge.Reply{Decision: toolbridge.Accepted, Content: content}, nil
	}
}

func TestAToolAsksItsCaller(t *testing.T) {
	startWorker(t, hub.Address, askTool("go_ask"))
	// "ask" is a tool of the hub, in Python.
	for _, tool := range []string{"go_ask", "ask"} {
		var asked *toolbridge.Question
		session := askingSession(t, func(_ context.Context, question *toolbridge.Question) (*toolbridge.Reply, error) {
			asked = question
			content := toolbridge.Args{"reason": "old", "mode": "safe", "share": 0.5, "sure": true}
			return &toolbridge.Reply{Decision: toolbridge.Accepted, Content: content}, nil
		})
		if got, err := session.Call(testContext(t), tool); err != nil || got != "accept old 2 safe 0.5 true" {
			t.Errorf("%s gave %v, %v", tool, got, err)
		}
		if asked == nil || asked.Message != "Delete 3 files?" || asked.Tool != tool || !strings.Contains(asked.Schema, `"reason"`) {
			t.Errorf("the question of %s was %+v", tool, asked)
		}
		// The content may be a struct, too.
		share := 0.25
		session = askingSession(t, accepting(askForm{Reason: "big", Keep: 9, Share: &share}))
		if got, err := session.Call(testContext(t), tool); err != nil || got != "accept big 9  0.25 false" {
			t.Errorf("%s gave %v, %v", tool, got, err)
		}
	}
}

func TestAQuestionIsAnsweredInStreamsBatchesAndNestedCalls(t *testing.T) {
	startWorker(t, hub.Address, askTool("go_ask_anywhere"),
		toolbridge.Tool("go_ask_nested", "Calls a tool that asks.", func(ctx context.Context, _ struct{}) (any, error) {
			return toolbridge.FromContext(ctx).Session().Call(ctx, "go_ask_anywhere")
		}))
	session, ctx := askingSession(t, accepting(toolbridge.Args{"reason": "old"})), testContext(t)
	const want = "accept old 2  none false"
	for got, err := range session.Stream(ctx, "go_ask_anywhere") {
		if err != nil || got != want {
			t.Errorf("the stream gave %v, %v", got, err)
		}
	}
	if got, err := session.Call(ctx, "go_ask_nested"); err != nil || got != want {
		t.Errorf("the nested call gave %v, %v", got, err)
	}
	results, err := session.Batch(ctx, []toolbridge.Item{{Tool: "go_ask_anywhere"}, {Tool: "go_ask_nested"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if got, err := result.Value(); err != nil || got != want {
			t.Errorf("the batch gave %v, %v", got, err)
		}
	}
}

func TestADecisionOtherThanAcceptedHasNoContent(t *testing.T) {
	startWorker(t, hub.Address, askTool("go_ask_declined"))
	for want, reply := range map[string]*toolbridge.Reply{
		"decline": nil,
		"cancel":  {Decision: toolbridge.Cancelled},
	} {
		session := askingSession(t, func(context.Context, *toolbridge.Question) (*toolbridge.Reply, error) { return reply, nil })
		if got, err := session.Call(testContext(t), "go_ask_declined"); err != nil || got != want+"  0  none false" {
			t.Errorf("%s gave %v, %v", want, got, err)
		}
	}
}

func TestAnAnswerThatDoesNotFitIsAnErrorThatNamesWhatIsWrong(t *testing.T) {
	startWorker(t, hub.Address, askTool("go_ask_wrongly"))
	session := askingSession(t, accepting(toolbridge.Args{"keep": 2.5, "mode": "slow", "more": 1}))
	_, err := session.Call(testContext(t), "go_ask_wrongly")
	for _, text := range []string{"keep: ", "mode: it must be one of fast, safe", "more: it was not asked for", "reason: it is missing"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %v", text, err)
		}
	}
}

var errNobody = errors.New("nobody is here")

func TestAnErrorOfTheAnsweringFunctionEndsTheCall(t *testing.T) {
	ended := make(chan error, 1)
	startWorker(t, hub.Address, toolbridge.Tool("go_ask_in_vain", "Asks.", func(ctx context.Context, _ struct{}) (any, error) {
		_, err := toolbridge.Ask(ctx, "Is anybody here?", nil)
		ended <- err
		return nil, err
	}))
	for _, answer := range []toolbridge.OnAsk{
		func(context.Context, *toolbridge.Question) (*toolbridge.Reply, error) { return nil, errNobody },
		func(context.Context, *toolbridge.Question) (*toolbridge.Reply, error) {
			return &toolbridge.Reply{Decision: "perhaps"}, nil
		},
		accepting(make(chan int)),
		accepting(toolbridge.Args{"text": strings.Repeat("x", 100_000)}),
	} {
		_, err := askingSession(t, answer).Call(testContext(t), "go_ask_in_vain")
		if !errors.Is(err, errNobody) && !errors.Is(err, toolbridge.ErrValidation) {
			t.Errorf("the call gave %v", err)
		}
		if err := <-ended; !errors.Is(err, toolbridge.ErrCancelled) {
			t.Errorf("the tool got %v", err)
		}
	}
}

func TestACallerThatCannotAnswerIsAnErrorOfTheTool(t *testing.T) {
	startWorker(t, hub.Address, askTool("go_ask_nobody"))
	_, err := newSession(t, hub.Address).Call(testContext(t), "go_ask_nobody")
	var own *toolbridge.Error
	if !errors.As(err, &own) || own.Type != "Unimplemented" || !strings.Contains(own.Message, "WithOnAsk") {
		t.Errorf("the error is %v", err)
	}
}

func TestAQuestionThatCannotBeAskedIsAnErrorOfTheTool(t *testing.T) {
	var none *askForm
	startWorker(t, hub.Address, toolbridge.Tool("go_ask_what", "Asks.", func(ctx context.Context, _ struct{}) (any, error) {
		for _, content := range []any{1, askForm{}, none, &struct{ List []int }{}, &struct{ Data []byte }{}} {
			if _, err := toolbridge.Ask(ctx, "Which?", content); !errors.Is(err, toolbridge.ErrValidation) {
				return nil, fmt.Errorf("%T was asked for: %w", content, err)
			}
		}
		for _, message := range []string{"", strings.Repeat("x", 5_000)} {
			if _, err := toolbridge.Ask(ctx, message, nil); !errors.Is(err, toolbridge.ErrValidation) {
				return nil, fmt.Errorf("%.10q was asked: %w", message, err)
			}
		}
		return nil, nil
	}))
	if _, err := askingSession(t, accepting(nil)).Call(testContext(t), "go_ask_what"); err != nil {
		t.Error(err)
	}
}

func TestAQuestionEndsWithItsCall(t *testing.T) {
	asked, forgotten, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	startWorker(t, hub.Address, toolbridge.Tool("go_ask_late", "Asks.", func(ctx context.Context, _ struct{}) (any, error) {
		_, err := toolbridge.Ask(ctx, "Is anybody here?", nil)
		ended <- err
		return nil, err
	}))
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-asked
		cancel()
	}()
	session := askingSession(t, func(ctx context.Context, _ *toolbridge.Question) (*toolbridge.Reply, error) {
		close(asked)
		<-ctx.Done()
		close(forgotten)
		return nil, ctx.Err()
	})
	if _, err := session.Call(ctx, "go_ask_late"); !errors.Is(err, context.Canceled) {
		t.Errorf("the call gave %v", err)
	}
	<-forgotten
	if err := <-ended; !errors.Is(err, toolbridge.ErrCancelled) {
		t.Errorf("the tool got %v", err)
	}
}

func TestAHundredQuestionsOfACallMayBeOpen(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("go_ask_much", "Asks.", func(ctx context.Context, _ struct{}) (int, error) {
		results := make(chan error)
		for range 101 {
			go func() {
				_, err := toolbridge.Ask(ctx, "Is anybody here?", nil)
				results <- err
			}()
		}
		// The first to end is the one that is too much; then the others are answered.
		if err := <-results; !errors.Is(err, toolbridge.ErrResourceExhausted) {
			return 0, fmt.Errorf("the 101st question gave: %w", err)
		}
		if _, err := toolbridge.FromContext(ctx).Session().Set(ctx, "go on", true); err != nil {
			return 0, err
		}
		for range 100 {
			if err := <-results; err != nil {
				return 0, err
			}
		}
		return 100, nil
	}))
	release := make(chan struct{})
	session := askingSession(t, func(ctx context.Context, _ *toolbridge.Question) (*toolbridge.Reply, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return &toolbridge.Reply{Decision: toolbridge.Accepted}, nil
	})
	ctx := testContext(t)
	go func() {
		for range session.Watch(ctx, "go on") {
			close(release)
			return
		}
	}()
	if got, err := toolbridge.Call[int](ctx, session, "go_ask_much"); err != nil || got != 100 {
		t.Errorf("it gave %d, %v", got, err)
	}
}
