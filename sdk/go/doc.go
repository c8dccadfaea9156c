// Package toolbridge connects Go programs to a hub of the gRPC tool bridge: as clients, which call the hub's tools, and
// as workers, which offer tools of their own. The hub is a Python program, `grpc-tool-bridge serve`; clients and workers
// in any language meet there.
//
// # Clients
//
// Dial connects to a hub, and Client.Session opens a session. A session calls tools, holds variables and runs agents:
//
//	client, err := toolbridge.Dial(ctx, "127.0.0.1:50051")
//	session, err := client.Session(ctx, "")
//	sum, err := toolbridge.Call[int](ctx, session, "add", 2, 3)
//
// Every call takes its deadline and its cancellation from its context. All calls share one connection, and those that
// are made at the same time share its messages, so make them from as many goroutines as you like.
//
// # Workers
//
// Tool makes a tool of a function; the fields of its input are the tool's arguments. Worker.Run serves it until its
// context ends:
//
//	worker := toolbridge.NewWorker("127.0.0.1:50051")
//	worker.Add(toolbridge.Tool("add", "Adds two numbers.", func(ctx context.Context, in AddArgs) (int, error) {
//		return in.A + in.B, nil
//	}))
//	err := worker.Run(ctx)
//
// # Values
//
// Arguments, results and variables are ordinary Go values: numbers, texts, bytes, slices, maps, structs, times. Package
// value says how each of them travels, and what becomes of values that only other languages have.
//
// # Errors
//
// Every error is an *Error. Its Type names what went wrong, Origin whether a tool or the bridge raised it, and Retryable
// whether the same call may succeed later. Compare it by errors.Is with ErrToolNotFound and its siblings, or with
// context.DeadlineExceeded and context.Canceled.
//
// # Connections
//
// If the connection is lost, client and worker connect again with growing pauses. Calls that were sent fail with
// ErrUnavailable, since nobody can know whether they ran; calls that were not sent wait for the next connection. Sessions
// are resumed, watches go on where they were, and workers register their tools again.
package toolbridge
