// The client or the worker of the figures in Go: driver client|worker HOST:PORT. A client answers lines of JSON, such as
// {"width": 100, "number": 1000}, with the seconds of that many calls.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

type pair struct {
	A int `json:"a"`
	B int `json:"b"`
}

type count struct {
	Number int `json:"number"`
}

var chunk = make([]byte, 64*1024)

func serve(address string) {
	ctx, stop := context.WithCancel(context.Background())
	worker := toolbridge.NewWorker(address, toolbridge.WithCapacity(1_000))
	worker.Add(
		toolbridge.Tool("add", "Adds two integers.", func(_ context.Context, in pair) (int, error) { return in.A + in.B, nil }),
		toolbridge.StreamTool("chunks", "Yields chunks of 64 KiB.",
			func(_ context.Context, in count, send func([]byte) error) error {
				for range in.Number {
					if err := send(chunk); err != nil {
						return err
					}
				}
				return nil
			}),
	)
	go func() {
		<-worker.Ready()
		fmt.Println(`"ready"`)
		_, _ = io.ReadAll(os.Stdin)
		stop()
	}()
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func measure(session *toolbridge.Session, width, number int) float64 {
	var made atomic.Int64
	var callers sync.WaitGroup
	began := time.Now()
	for range width {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for a := int(made.Add(1)); a <= number; a = int(made.Add(1)) {
				sum, err := toolbridge.Call[int](context.Background(), session, "add", a, 7)
				if err != nil || sum != a+7 {
					log.Fatal(sum, err)
				}
			}
		}()
	}
	callers.Wait()
	return time.Since(began).Seconds()
}

func ask(address string) {
	ctx := context.Background()
	client, err := toolbridge.Dial(ctx, address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Session(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(`"ready"`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked struct{ Width, Number int }
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		fmt.Println(measure(session, asked.Width, asked.Number))
	}
}

func main() {
	if os.Args[1] == "worker" {
		serve(os.Args[2])
	} else {
		ask(os.Args[2])
	}
}
