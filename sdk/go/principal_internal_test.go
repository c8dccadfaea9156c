package toolbridge

import (
	"errors"
	"reflect"
	"testing"
)

func TestWhatAHubSaysOfACallerIsReadOrRefusedAsAWhole(t *testing.T) {
	read := func(text string) (*Principal, []string, error) {
		return callerOf(map[string]string{"tool-bridge-principal": text})
	}
	principal, via, err := read(`{"name":"ada","groups":["staff"],"claims":{"email":"a@b"},"method":"jwt","via":["agent:planner"]}`)
	want := &Principal{"ada", []string{"staff"}, map[string]any{"email": "a@b"}, "jwt"}
	if err != nil || !reflect.DeepEqual(principal, want) || !reflect.DeepEqual(via, []string{"agent:planner"}) {
		t.Errorf("it read %+v, %v, %v", principal, via, err)
	}
	if principal, via, err := callerOf(nil); principal != nil || via != nil || err != nil {
		t.Errorf("of nothing it read %+v, %v, %v", principal, via, err)
	}
	for _, text := range []string{
		"", "no JSON", "[]", "null", "{}", `{"name":3}`, `{"name":"a","groups":"staff"}`, `{"name":"a","claims":[]}`,
		`{"name":"a","via":[1]}`, `{"name":"a","method":1}`,
	} {
		if principal, _, err := read(text); principal != nil || !errors.Is(err, &Error{Type: "ProtocolError"}) {
			t.Errorf("of %q it read %+v, %v", text, principal, err)
		}
	}
}
