// Worker offers two tools to a hub until Ctrl-C.
//
//	grpc-tool-bridge serve            # in another terminal
//	go run ./worker
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

type shoutArgs struct {
	Text string `json:"text" doc:"what is shouted"`
}

type wordsArgs struct {
	Text string `json:"text" doc:"what is split"`
	Most int    `json:"most" default:"100" min:"1" doc:"how many words at most"`
}

func main() {
	address := flag.String("address", "127.0.0.1:50051", "the hub's address")
	flag.Parse()

	worker := toolbridge.NewWorker(*address)
	worker.Add(
		toolbridge.Tool("shout", "Writes a text in capitals.", func(_ context.Context, in shoutArgs) (string, error) {
			if in.Text == "" {
				return "", toolbridge.Errorf("EmptyText", "there is nothing to shout")
			}
			return strings.ToUpper(in.Text), nil
		}, toolbridge.Idempotent()),
		toolbridge.StreamTool("words", "Yields the words of a text.", func(ctx context.Context, in wordsArgs, send func(string) error) error {
			call := toolbridge.FromContext(ctx)
			words := strings.Fields(in.Text)
			for i, word := range words[:min(len(words), in.Most)] {
				call.Progress(float64(i+1), float64(len(words)), word)
				if err := send(word); err != nil {
					return err
				}
			}
			return nil
		}),
	)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-worker.Ready()
		fmt.Println("ready")
	}()
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
