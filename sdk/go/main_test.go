package toolbridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hubtest"
)

// patience bounds every wait of a test.
const patience = time.Minute

// hub is the hub of all tests that do not end it.
var hub *hubtest.Hub

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var err error
	if hub, err = hubtest.Start("127.0.0.1:0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer hub.Stop()
	return m.Run()
}

// testContext ends with the test, or when its patience does.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

func newClient(t *testing.T, address string, options ...toolbridge.Option) *toolbridge.Client {
	t.Helper()
	client, err := toolbridge.Dial(testContext(t), address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newSession(t *testing.T, address string, options ...toolbridge.SessionOption) *toolbridge.Session {
	t.Helper()
	session, err := newClient(t, address).Session(testContext(t), "", options...)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// startWorker serves tools until the test ends.
func startWorker(t *testing.T, address string, tools ...*toolbridge.Definition) *toolbridge.Worker {
	t.Helper()
	worker := toolbridge.NewWorker(address)
	worker.Add(tools...)
	serve(t, worker)
	return worker
}

// serve runs a worker until the test ends, or the function that it returns is called; that returns what Run did.
func serve(t *testing.T, worker *toolbridge.Worker) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	var result error
	stopped := false
	stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			result = <-done
		}
		return result
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	select {
	case <-worker.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("the worker did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("the worker did not start")
	}
	return stop
}

type addArgs struct {
	A int `json:"a" doc:"the first number"`
	B int `json:"b"`
}
