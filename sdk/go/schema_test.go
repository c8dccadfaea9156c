package toolbridge

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestTheSchemaOfAToolSaysWhatItsTagsSay(t *testing.T) {
	type nested struct {
		Name string `json:"name"`
	}
	type args struct {
		Count  int               `json:"count" doc:"how many" default:"3" min:"1" max:"9"`
		Unit   string            `json:"unit" enum:"m,km"`
		Data   []byte            `json:"data,omitempty"`
		Nested *nested           `json:"nested"`
		Labels map[string]uint16 `json:"labels"`
		Any    any               `json:"any"`
	}
	tool := Tool("t", "", func(context.Context, args) ([]float32, error) { return nil, nil })
	want := `{"additionalProperties":false,"properties":{"any":{},` +
		`"count":{"default":3,"description":"how many","maximum":9,"minimum":1,"type":"integer"},` +
		`"data":{"contentEncoding":"base64","type":"string"},` +
		`"labels":{"additionalProperties":{"minimum":0,"type":"integer"},"type":"object"},` +
		`"nested":{"anyOf":[{"additionalProperties":false,"properties":{"name":{"type":"string"}},"required":["name"],"type":"object"},{"type":"null"}]},` +
		`"unit":{"enum":["m","km"],"type":"string"}},"required":["unit","labels","any"],"type":"object"}`
	if tool.spec.InputSchema != want {
		t.Errorf("the schema is %s", tool.spec.InputSchema)
	}
	if want := `{"items":{"type":"number"},"type":"array"}`; tool.spec.OutputSchema != want {
		t.Errorf("the schema of the result is %s", tool.spec.OutputSchema)
	}
}

func TestTheErrorOfACallNamesEveryWrongArgument(t *testing.T) {
	tool := Tool("t", "", func(context.Context, struct {
		Count int    `json:"count" max:"9"`
		Unit  string `json:"unit" enum:"m,km"`
		Name  string `json:"name"`
	}) (any, error) {
		return nil, nil
	})
	args, kwargs, err := arguments([]any{10, "mile", Args{"unit": "m", "colour": "red"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tool.bind(args, kwargs)
	want := "ValidationError: t: colour: there is no such argument; count: it must be at most 9; name: it is missing; " +
		"unit: it was given by position and by name"
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v", err)
	}
	if _, err := tool.bind(append(args, args...), nil); err == nil || err.Error() != "ValidationError: t: *: "+
		"it takes 3 positional arguments, but 4 were given; count: it must be at most 9; "+
		"name: an integer cannot be stored in string; unit: it must be one of m, km" {
		t.Errorf("the error is %v", err)
	}
}

func TestATypeThatContainsItselfHasASchema(t *testing.T) {
	type tree struct {
		Children []*tree `json:"children"`
	}
	Tool("t", "", func(context.Context, tree) (tree, error) { return tree{}, nil })
}

func TestAnErrorWithoutAnErrorInfoIsItsStatus(t *testing.T) {
	err := errorOfStatus(codes.DeadlineExceeded, "late", nil)
	if err.Status != "DEADLINE_EXCEEDED" || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("the error is %+v", err)
	}
	if text := fmt.Sprint(ofTool(err, "look")); text != "look: DEADLINE_EXCEEDED: late" {
		t.Errorf("its text is %q", text)
	}
}

func TestAnErrorSaysWhenToTryAgain(t *testing.T) {
	err := &Error{Type: "ResourceExhausted", Details: map[string]string{"retry_after": "0.25"}}
	if wait, ok := err.RetryAfter(); !ok || wait.Milliseconds() != 250 {
		t.Errorf("it says %v, %v", wait, ok)
	}
	if _, ok := new(Error).RetryAfter(); ok {
		t.Error("an error without details says when")
	}
}
