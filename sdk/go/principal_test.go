package toolbridge_test

import (
	"context"
	"encoding/json"
	"testing"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
)

// told is what a tool says of its caller.
type told struct {
	Name, Method string
	Via          []string
}

func facts(ctx context.Context) told {
	invocation := toolbridge.FromContext(ctx)
	if invocation.Principal == nil {
		return told{Via: invocation.Via}
	}
	return told{invocation.Principal.Name, invocation.Principal.Method, invocation.Via}
}

func asJSON(t *testing.T, found any) string {
	t.Helper()
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAToolSeesWhoHasCalledIt(t *testing.T) {
	who := toolbridge.Tool("go_who", "Says who calls.", func(ctx context.Context, _ struct{}) (told, error) {
		return facts(ctx), nil
	})
	asks := toolbridge.Tool("go_asks", "Asks who calls.", func(ctx context.Context, _ struct{}) ([]told, error) {
		nested, err := toolbridge.Call[told](ctx, toolbridge.FromContext(ctx).Session(), "go_who")
		return []told{facts(ctx), nested}, err
	})
	secured := startHub(t, "127.0.0.1:0", "--token-file", write(t, "token", []byte("right-token")))
	for _, test := range []struct {
		address string
		options []toolbridge.Option
		want    string
	}{
		{hub.Address, nil, `[{"Name":"","Method":"","Via":[]},{"Name":"","Method":"","Via":[]}]`},
		{
			secured.Address,
			[]toolbridge.Option{toolbridge.WithToken("right-token")},
			`[{"Name":"token","Method":"token","Via":[]},{"Name":"token","Method":"token","Via":["tool:go_asks"]}]`,
		},
	} {
		session, err := newClient(t, test.address, test.options...).Session(testContext(t), "")
		if err != nil {
			t.Fatal(err)
		}
		options := append([]toolbridge.Option{toolbridge.WithSessionID(session.ID())}, test.options...)
		worker := toolbridge.NewWorker(test.address, options...)
		worker.Add(who, asks)
		serve(t, worker)
		forged := session.With(toolbridge.CallMetadata(map[string]string{"tool-bridge-principal": `{"name":"eve"}`}))
		found, err := toolbridge.Call[[]told](testContext(t), forged, "go_asks")
		if err != nil || asJSON(t, found) != test.want {
			t.Errorf("it saw %s, %v", asJSON(t, found), err)
		}
	}
}
