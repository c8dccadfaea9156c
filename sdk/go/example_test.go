package toolbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

// address is that of the hub which runs while the examples do.
func address() string { return hub.Address }

func exampleSession(ctx context.Context) (*toolbridge.Session, func()) {
	client, err := toolbridge.Dial(ctx, address())
	if err != nil {
		log.Fatal(err)
	}
	session, err := client.Session(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	return session, func() { _ = client.Close() }
}

func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()

	client, err := toolbridge.Dial(ctx, address())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Session(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	sum, err := toolbridge.Call[int](ctx, session, "add", 2, 3)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)
	// Output: 5
}

func ExampleCall() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	type City struct {
		Name       string `json:"name"`
		Population int    `json:"population"`
	}
	city, err := toolbridge.Call[City](ctx, session, "echo", toolbridge.Args{"value": City{"Oslo", 717_710}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(city.Name, city.Population)
	// Output: Oslo 717710
}

func ExampleStream() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	for number, err := range toolbridge.Stream[int](ctx, session, "count", 1_000_000) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(number)
		if number == 2 {
			break // cancels the tool
		}
	}
	// Output:
	// 0
	// 1
	// 2
}

func ExampleError() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	_, err := session.Call(ctx, "fail", "no such city")
	var failure *toolbridge.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Type, failure.Origin, failure.Retryable)
	}
	_, err = session.Call(ctx, "no_such_tool")
	fmt.Println(errors.Is(err, toolbridge.ErrToolNotFound))

	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = session.Call(short, "wait")
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// ValueError tool false
	// true
	// true
}

func ExampleSession_Batch() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	results, err := session.Batch(ctx, []toolbridge.Item{
		{Tool: "add", Args: []any{1, 2}},
		{Tool: "fail", Args: []any{"no"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, result := range results {
		fmt.Println(result.Value())
	}
	// Output:
	// 3 <nil>
	// <nil> fail: ValueError: no
}

func ExampleSession_Set() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	revision, err := session.Set(ctx, "cities", []string{"Oslo"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := session.Set(ctx, "cities", []string{"Oslo", "Rome"}, toolbridge.IfRevision(revision)); err != nil {
		log.Fatal(err)
	}
	_, err = session.Set(ctx, "cities", []string{}, toolbridge.IfRevision(revision))
	fmt.Println(errors.Is(err, toolbridge.ErrRevisionConflict))
	cities, err := toolbridge.Get[[]string](ctx, session, "cities")
	fmt.Println(cities, err)
	// Output:
	// true
	// [Oslo Rome] <nil>
}

func ExampleSession_Watch() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	session, closeSession := exampleSession(ctx)
	defer closeSession()

	if _, err := session.Set(ctx, "unit", "m"); err != nil {
		log.Fatal(err)
	}
	for change, err := range session.Watch(ctx, "unit") {
		if err != nil {
			log.Fatal(err)
		}
		unit, err := change.Value()
		fmt.Println(change.Operation, unit, err)
		if unit == "km" {
			break
		}
		if _, err := session.Set(ctx, "unit", "km"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// set m <nil>
	// update km <nil>
}

func ExampleWorker() {
	type ShoutArgs struct {
		Text  string `json:"text" doc:"what is shouted"`
		Times int    `json:"times" default:"1" min:"1"`
	}
	worker := toolbridge.NewWorker(address())
	worker.Add(toolbridge.Tool("shout", "Writes a text in capitals.", func(ctx context.Context, in ShoutArgs) (string, error) {
		return strings.Repeat(strings.ToUpper(in.Text), in.Times), nil
	}))

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	serving, leave := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- worker.Run(serving) }()
	<-worker.Ready()

	session, closeSession := exampleSession(ctx)
	defer closeSession()
	fmt.Println(session.Call(ctx, "shout", "hello", 2))
	leave()
	fmt.Println(<-done)
	// Output:
	// HELLOHELLO <nil>
	// <nil>
}

func ExampleStreamTool() {
	type RangeArgs struct {
		To int `json:"to"`
	}
	squares := toolbridge.StreamTool("squares", "Yields squares.", func(ctx context.Context, in RangeArgs, send func(int) error) error {
		for n := range in.To {
			if err := send(n * n); err != nil {
				return err
			}
		}
		return nil
	})
	worker := toolbridge.NewWorker(address())
	worker.Add(squares)

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	serving, leave := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- worker.Run(serving) }()
	<-worker.Ready()

	session, closeSession := exampleSession(ctx)
	defer closeSession()
	for square, err := range toolbridge.Stream[int](ctx, session, "squares", 3) {
		fmt.Println(square, err)
	}
	leave()
	<-done
	// Output:
	// 0 <nil>
	// 1 <nil>
	// 4 <nil>
}

func ExampleFromContext() {
	type ConvertArgs struct {
		Meters float64 `json:"meters"`
	}
	convert := toolbridge.Tool("convert", "Converts to the session's unit.", func(ctx context.Context, in ConvertArgs) (string, error) {
		call := toolbridge.FromContext(ctx)
		call.Progress(0, 1, "reading the unit")
		unit, err := toolbridge.Get[string](ctx, call.Session(), "unit")
		if err != nil {
			return "", err
		}
		if unit == "km" {
			return fmt.Sprint(in.Meters/1000, " km"), nil
		}
		return fmt.Sprint(in.Meters, " m"), nil
	})
	worker := toolbridge.NewWorker(address())
	worker.Add(convert)

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	serving, leave := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- worker.Run(serving) }()
	<-worker.Ready()

	session, closeSession := exampleSession(ctx)
	defer closeSession()
	if _, err := session.Set(ctx, "unit", "km"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.Call(ctx, "convert", 2500))
	leave()
	<-done
	// Output: 2.5 km <nil>
}
