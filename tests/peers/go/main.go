// The tools of the round trip in Go: tools HOST:PORT.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

type nothing struct{}

type variable struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

type kettleError struct{ why string }

func (e *kettleError) Error() string { return e.why }

func set(ctx context.Context, in variable) (uint64, error) {
	return toolbridge.FromContext(ctx).Session().Set(ctx, in.Name, in.Value)
}

func sumOfElixir(ctx context.Context, in struct {
	N int `json:"n"`
}) (int, error) {
	sum := 0
	for number, err := range toolbridge.Stream[int](ctx, toolbridge.FromContext(ctx).Session(), "elixir_count", in.N) {
		if err != nil {
			return 0, err
		}
		sum += number
	}
	return sum, nil
}

func fail(_ context.Context, in struct {
	Why string `json:"why"`
}) (any, error) {
	return nil, &kettleError{in.Why}
}

func requestID(ctx context.Context, _ nothing) (string, error) {
	return toolbridge.FromContext(ctx).RequestID, nil
}

func echo(_ context.Context, in struct {
	Value any `json:"value"`
}) (any, error) {
	return in.Value, nil
}

func manyBytes(_ context.Context, in struct {
	Size int `json:"size"`
}) ([]byte, error) {
	return bytes.Repeat([]byte("x"), in.Size), nil
}

func ask(ctx context.Context, _ nothing) (string, error) {
	var form struct {
		Name string `json:"name"`
		Age  int    `json:"age" max:"200"`
	}
	decision, err := toolbridge.Ask(ctx, "Who are you?", &form)
	return fmt.Sprintf("%s %s %d", decision, form.Name, form.Age), err
}

// wait says in variables when it begins and when it was stopped, by a connection that does not end with the call.
func wait(client *toolbridge.Client) func(context.Context, nothing) (any, error) {
	return func(ctx context.Context, _ nothing) (any, error) {
		own := context.Background()
		session, err := client.Session(own, toolbridge.FromContext(ctx).Session().ID())
		if err != nil {
			return nil, err
		}
		if _, err := session.Set(own, "go_begun", true); err != nil {
			return nil, err
		}
		<-ctx.Done()
		_, err = session.Set(own, "go_stopped", fmt.Sprint(context.Cause(ctx)))
		return nil, err
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client, err := toolbridge.Dial(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	worker := toolbridge.NewWorker(os.Args[1])
	worker.Add(
		toolbridge.Tool("go_set", "Sets a variable.", set),
		toolbridge.Tool("go_sum_of_elixir", "Adds up what a tool of Elixir streams.", sumOfElixir),
		toolbridge.Tool("go_fail", "Fails.", fail),
		toolbridge.Tool("go_request_id", "Returns the id of its call.", requestID),
		toolbridge.Tool("go_echo", "Returns its argument.", echo),
		toolbridge.Tool("go_bytes", "Returns so many bytes.", manyBytes),
		toolbridge.Tool("go_wait", "Waits until it is stopped.", wait(client)),
		toolbridge.Tool("go_ask", "Asks its caller.", ask),
		toolbridge.Tool("where", "Says where it runs.", func(context.Context, nothing) (string, error) { return "go", nil }),
	)
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
