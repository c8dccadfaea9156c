package toolbridge_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hubtest"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

func TestACallTakesArgumentsByPositionAndByName(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	for _, args := range [][]any{
		{2, 3},
		{toolbridge.Args{"a": 2, "b": 3}},
		{2, toolbridge.Args{"b": 3}},
	} {
		if sum, err := toolbridge.Call[int](ctx, session, "add", args...); err != nil || sum != 5 {
			t.Errorf("add(%v) = %d, %v", args, sum, err)
		}
	}
}

type point struct {
	X    float64           `json:"x"`
	Name string            `json:"name,omitempty"`
	Tags map[string]string `json:"tags"`
	Next *point            `json:"next"`
	At   time.Time         `json:"at"`
}

func TestAResultIsConvertedToItsDeclaredType(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	sent := point{X: 3, Tags: map[string]string{"b": "1", "a": "2"}, Next: &point{X: 0.5, Name: "é"}, At: time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)}
	sent.Next.Tags = map[string]string{}
	sent.Next.At = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	got, err := toolbridge.Call[point](ctx, session, "echo", sent)
	if err != nil || !reflect.DeepEqual(got, sent) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := toolbridge.Call[string](ctx, session, "echo", 3); !errors.Is(err, toolbridge.ErrSerialization) || !strings.Contains(err.Error(), "integer") {
		t.Errorf("an integer as a string gave %v", err)
	}
}

func TestAnUntypedResultKeepsTheOrderOfItsKeys(t *testing.T) {
	session := newSession(t, hub.Address)
	got, err := session.Call(testContext(t), "echo", value.DictOf("b", 1, "a", 2.0))
	if err != nil {
		t.Fatal(err)
	}
	var keys []any
	for key := range got.(*value.Dict).All() {
		keys = append(keys, key)
	}
	if fmt.Sprint(keys) != "[b a]" {
		t.Errorf("the keys are %v", keys)
	}
}

func TestAnErrorOfAToolHasItsClassAndMessage(t *testing.T) {
	_, err := newSession(t, hub.Address).Call(testContext(t), "fail", "no such thing")
	var own *toolbridge.Error
	if !errors.As(err, &own) {
		t.Fatalf("the error is %v", err)
	}
	if own.Type != "ValueError" || own.Origin != "tool" || own.Message != "no such thing" || own.Tool != "fail" {
		t.Errorf("the error is %+v", own)
	}
}

func TestErrorsOfTheBridgeAreKnownByTheirType(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	if _, err := session.Call(ctx, "no_such_tool"); !errors.Is(err, toolbridge.ErrToolNotFound) {
		t.Errorf("a tool that there is not: %v", err)
	}
	if _, err := session.Call(ctx, "add", "two"); !errors.Is(err, toolbridge.ErrValidation) {
		t.Errorf("a wrong argument: %v", err)
	}
	if _, err := session.Call(ctx, "echo", make(chan int)); !errors.Is(err, toolbridge.ErrSerialization) {
		t.Errorf("a value that cannot travel: %v", err)
	}
	if _, err := session.Get(ctx, "no such variable"); !errors.Is(err, toolbridge.ErrVariableNotFound) {
		t.Errorf("a variable that there is not: %v", err)
	}
}

func TestACallEndsAtTheDeadlineOfItsContext(t *testing.T) {
	session := newSession(t, hub.Address)
	ctx, stop := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer stop()
	_, err := session.Call(ctx, "wait")
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, toolbridge.ErrTimeout) {
		t.Errorf("the error is %v", err)
	}
}

func TestACallThatIsCancelledCancelsItsTool(t *testing.T) {
	running, ended := make(chan struct{}), make(chan struct{})
	startWorker(t, hub.Address, toolbridge.Tool("until_cancelled", "Waits.", func(ctx context.Context, _ struct{}) (any, error) {
		close(running)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-running
		cancel()
	}()
	_, err := newSession(t, hub.Address).Call(ctx, "until_cancelled")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, toolbridge.ErrCancelled) {
		t.Errorf("the error is %v", err)
	}
	await(t, ended, "the end of the tool")
}

func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-event:
		return got
	case <-time.After(patience):
		t.Fatalf("%s did not come within %v", what, patience)
		panic("unreachable")
	}
}

func TestAStreamYieldsItsValuesInOrder(t *testing.T) {
	var got []int
	for number, err := range toolbridge.Stream[int](testContext(t), newSession(t, hub.Address), "count", 1000) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, number)
	}
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d values came", len(got))
	}
}

func TestAStreamThatFailsYieldsItsErrorLast(t *testing.T) {
	var errs []error
	for _, err := range newSession(t, hub.Address).Stream(testContext(t), "fail", "no") {
		errs = append(errs, err)
	}
	if len(errs) != 1 || errs[0] == nil || !strings.Contains(errs[0].Error(), "ValueError: no") {
		t.Errorf("it yielded %v", errs)
	}
}

func TestAStreamThatIsLeftEndsItsTool(t *testing.T) {
	ended := make(chan error, 1)
	startWorker(t, hub.Address, toolbridge.StreamTool("endless", "Counts.", func(ctx context.Context, _ struct{}, send func(int) error) error {
		for number := 0; ; number++ {
			if err := send(number); err != nil {
				ended <- err
				return err
			}
		}
	}))
	for number, err := range toolbridge.Stream[int](testContext(t), newSession(t, hub.Address), "endless") {
		if err != nil {
			t.Fatal(err)
		}
		if number == 3 {
			break
		}
	}
	if err := await(t, ended, "the end of the tool"); !errors.Is(err, context.Canceled) {
		t.Errorf("the tool ended with %v", err)
	}
}

func TestABatchHasAResultForEachCall(t *testing.T) {
	session := newSession(t, hub.Address)
	results, err := session.Batch(testContext(t), []toolbridge.Item{
		{Tool: "add", Args: []any{1, 2}},
		{Tool: "fail", Args: []any{"no"}},
		{Tool: "echo", Args: []any{toolbridge.Args{"value": "x"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var sum int
	if err := results[0].Into(&sum); err != nil || sum != 3 {
		t.Errorf("the first result is %d, %v", sum, err)
	}
	if _, err := results[1].Value(); err == nil || err.Error() != "fail: ValueError: no" {
		t.Errorf("the second result is %v", err)
	}
	if text, err := results[2].Value(); err != nil || text != "x" {
		t.Errorf("the third result is %v, %v", text, err)
	}
}

func TestAVariableIsSetOnlyAtItsExpectedRevision(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	first, err := session.Set(ctx, "v", []string{"x"}, toolbridge.IfRevision(0), toolbridge.Tags(map[string]string{"unit": "m"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Set(ctx, "v", 2, toolbridge.IfRevision(first)); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Set(ctx, "v", 3, toolbridge.IfRevision(first)); !errors.Is(err, toolbridge.ErrRevisionConflict) {
		t.Errorf("a stale revision gave %v", err)
	}
	got, known, err := toolbridge.GetVariable[int](ctx, session, "v")
	if err != nil || got != 2 || known.Revision <= first || known.Tags["unit"] != "m" {
		t.Errorf("the variable is %d, %+v, %v", got, known, err)
	}
	listed, err := session.Variables(ctx, "v")
	if err != nil || len(listed) != 1 || listed[0].Name != "v" {
		t.Errorf("the variables are %+v, %v", listed, err)
	}
	if err := session.Delete(ctx, "v"); err != nil {
		t.Fatal(err)
	}
	if err := session.Delete(ctx, "v"); !errors.Is(err, toolbridge.ErrVariableNotFound) {
		t.Errorf("deleting it again gave %v", err)
	}
}

func newProxy(t *testing.T, target string) *hubtest.Proxy {
	t.Helper()
	proxy, err := hubtest.NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

func TestAWatchGoesOnAfterItsConnectionWasLost(t *testing.T) {
	proxy, ctx := newProxy(t, hub.Address), testContext(t)
	watched := newSession(t, proxy.Address)
	other, err := newClient(t, hub.Address).Session(ctx, watched.ID())
	if err != nil {
		t.Fatal(err)
	}
	set := func(number int) {
		if _, err := other.Set(ctx, "w", number); err != nil {
			t.Error(err)
		}
	}
	set(0)
	var got []string
	for change, err := range watched.Watch(ctx, "w") {
		if err != nil {
			t.Fatal(err)
		}
		var number int
		if err := change.Into(&number); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(change.Operation, " ", number))
		if number == 3 {
			break
		}
		if number == 1 {
			proxy.Cut()
		}
		set(number + 1)
	}
	if want := []string{"set 0", "update 1", "update 2", "update 3"}; !slices.Equal(got, want) {
		t.Errorf("the changes are %v", got)
	}
}

func TestACallAfterALostConnectionWaitsForTheNextOne(t *testing.T) {
	proxy := newProxy(t, hub.Address)
	session, ctx := newSession(t, proxy.Address), testContext(t)
	running := make(chan struct{})
	startWorker(t, hub.Address, toolbridge.Tool("lose_me", "Waits.", func(ctx context.Context, _ struct{}) (any, error) {
		close(running)
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	lost := make(chan error, 1)
	go func() {
		_, err := session.Call(ctx, "lose_me")
		lost <- err
	}()
	await(t, running, "the start of the tool")
	proxy.Cut()
	var own *toolbridge.Error
	if err := await(t, lost, "the error of the lost call"); !errors.As(err, &own) || own.Status != "UNAVAILABLE" || !own.Retryable {
		t.Errorf("the lost call gave %v", err)
	}
	if sum, err := toolbridge.Call[int](ctx, session, "add", 2, 3); err != nil || sum != 5 {
		t.Errorf("the next call gave %d, %v", sum, err)
	}
}

func TestASessionIsCreatedAgainAtAHubThatHasRestarted(t *testing.T) {
	first, err := hubtest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{})
	session, ctx := newSession(t, first.Address, toolbridge.OnRenewed(func() { close(renewed) })), testContext(t)
	if _, err := session.Set(ctx, "v", 1); err != nil {
		t.Fatal(err)
	}
	first.Kill()
	second, err := hubtest.Start(first.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	await(t, renewed, "the news that the session was created again")
	if _, err := session.Get(ctx, "v"); !errors.Is(err, toolbridge.ErrVariableNotFound) {
		t.Errorf("the variable gave %v", err)
	}
}

func TestTheToolsOfASessionAreListed(t *testing.T) {
	tools, err := newSession(t, hub.Address).Tools(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	found := slices.IndexFunc(tools, func(tool toolbridge.ToolInfo) bool { return tool.Name == "count" })
	if found < 0 || !tools[found].Streaming || !strings.Contains(tools[found].InputSchema, `"to"`) {
		t.Errorf("the tools are %+v", tools)
	}
}

func TestASessionThatHasEndedIsAnError(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	if err := session.End(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Call(ctx, "add", 1, 2); !errors.Is(err, toolbridge.ErrSessionExpired) {
		t.Errorf("the error is %v", err)
	}
}

func TestAHubThatCannotBeReachedIsAnError(t *testing.T) {
	ctx, stop := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer stop()
	_, err := toolbridge.Dial(ctx, "127.0.0.1:1")
	if !errors.Is(err, toolbridge.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("the error is %v", err)
	}
}

func TestWrongAddressesAndExposedTokensAreRefused(t *testing.T) {
	for _, address := range []string{"", "localhost", "http://localhost:50051", "user:password@localhost:50051"} {
		if _, err := toolbridge.Dial(testContext(t), address); !errors.Is(err, toolbridge.ErrValidation) || strings.Contains(err.Error(), "password") {
			t.Errorf("%q gave %v", address, err)
		}
	}
	_, err := toolbridge.Dial(testContext(t), "hub.example:50051", toolbridge.WithToken("secret"))
	if !errors.Is(err, toolbridge.ErrValidation) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a token without TLS gave %v", err)
	}
}

func TestACallAfterCloseIsCancelled(t *testing.T) {
	client, ctx := newClient(t, hub.Address), testContext(t)
	session, err := client.Session(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	var own *toolbridge.Error
	if _, err := session.Call(ctx, "add", 1, 2); !errors.As(err, &own) || own.Status != "CANCELLED" {
		t.Errorf("the error is %v", err)
	}
}

func TestAnIdempotencyKeyRunsACallOnce(t *testing.T) {
	calls := 0
	startWorker(t, hub.Address, toolbridge.Tool("once", "Counts its calls.", func(context.Context, struct{}) (int, error) {
		calls++
		return calls, nil
	}))
	session, ctx := newSession(t, hub.Address).With(toolbridge.IdempotencyKey("k")), testContext(t)
	for range 2 {
		if number, err := toolbridge.Call[int](ctx, session, "once"); err != nil || number != 1 {
			t.Errorf("the call gave %d, %v", number, err)
		}
	}
}

func TestManyGoroutinesShareAConnection(t *testing.T) {
	session, ctx := newSession(t, hub.Address), testContext(t)
	errs := make(chan error, 200)
	for number := range cap(errs) {
		go func() {
			sum, err := toolbridge.Call[int](ctx, session, "add", number, 1)
			if err == nil && sum != number+1 {
				err = fmt.Errorf("%d + 1 gave %d", number, sum)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := await(t, errs, "an answer"); err != nil {
			t.Error(err)
		}
	}
}

func TestLargeValuesTravelInParts(t *testing.T) {
	text := strings.Repeat("é", 1_500_000)
	got, err := toolbridge.Call[string](testContext(t), newSession(t, hub.Address), "echo", text)
	if err != nil || got != text {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func TestAValueBeyondTheLimitOfAMessageIsRefused(t *testing.T) {
	startWorker(t, hub.Address, toolbridge.Tool("huge", "Returns 11 MiB.", func(context.Context, struct{}) ([]byte, error) {
		return make([]byte, 11<<20), nil
	}))
	session, ctx := newSession(t, hub.Address), testContext(t)
	if _, err := session.Call(ctx, "echo", make([]byte, 11<<20)); !errors.Is(err, toolbridge.ErrMessageTooLarge) {
		t.Errorf("an argument gave %v", err)
	}
	if _, err := session.Call(ctx, "huge"); !errors.Is(err, toolbridge.ErrMessageTooLarge) {
		t.Errorf("a result gave %v", err)
	}
	if sum, err := toolbridge.Call[int](ctx, session, "add", 2, 3); err != nil || sum != 5 {
		t.Errorf("the next call gave %d, %v", sum, err)
	}
}
