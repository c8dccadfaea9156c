// Client calls the tools of the example worker.
//
//	go run ./client
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

func main() {
	address := flag.String("address", "127.0.0.1:50051", "the hub's address")
	flag.Parse()

	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	client, err := toolbridge.Dial(ctx, *address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Session(ctx, "")
	if err != nil {
		log.Fatal(err)
	}

	loud, err := toolbridge.Call[string](ctx, session, "shout", "hello")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(loud)

	for word, err := range toolbridge.Stream[string](ctx, session, "words", toolbridge.Args{"text": "one two three", "most": 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(word)
	}

	_, err = session.Call(ctx, "shout", "")
	var failure *toolbridge.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Type, "from", failure.Origin)
	}
}
