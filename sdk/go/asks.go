package toolbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/fields"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// The bounds of questions, as the hub has them.
const (
	maxQuestionChars = 4_096
	maxSchemaChars   = 16_384
	maxReplyBytes    = 65_536
)

// Decision is what a caller makes of a tool's question.
type Decision string

// The decisions. Cancelled is neither accepted nor declined: nobody answered.
const (
	Accepted  Decision = "accept"
	Declined  Decision = "decline"
	Cancelled Decision = "cancel"
)

// Question is a question of a tool.
type Question struct {
	// Message is for a person to read.
	Message string
	// Schema is the JSON Schema, as text, of the content that is asked for: an object whose properties are texts,
	// numbers and booleans. Empty: only whether the caller accepts.
	Schema string
	// Tool is the tool that was called, which may have called the one that asks; empty for a batch and a run.
	Tool string
}

// Reply is the answer to a question.
type Reply struct {
	Decision Decision
	// Content is what was asked for, if it is accepted: Args, or a struct by its json tags.
	Content any
}

// OnAsk answers a question. Its context ends with the call. A nil reply declines; an error becomes that of the call.
type OnAsk func(ctx context.Context, question *Question) (*Reply, error)

// WithOnAsk answers the questions of the tools that a client calls. It is called in a goroutine of its own for each
// question, and may wait for a person. Without it, tools that ask get an error.
func WithOnAsk(answer OnAsk) Option { return func(c *config) { c.onAsk = answer } }

// asking returns the caller for calls of a tool, which may ask.
func (s *Session) asking(tool string) caller {
	if s.client == nil || s.client.config.onAsk == nil {
		return s.caller
	}
	return &askedCaller{s.caller, func(ctx context.Context, ask *pb.Ask) (*pb.Answer, error) {
		reply, err := s.client.config.onAsk(ctx, &Question{Message: ask.Message, Schema: ask.Schema, Tool: tool})
		var own *Error
		if err != nil && !errors.As(err, &own) {
			message := "the tool's question was not answered: " + err.Error()
			return nil, &Error{Type: className(err), Message: message, Origin: originBridge, cause: err}
		}
		if err != nil {
			return nil, err
		}
		return reply.answer()
	}}
}

// askedCaller makes calls whose questions are answered.
type askedCaller struct {
	caller
	answer conn.Answer
}

func (a *askedCaller) Call(ctx context.Context, request *conn.Request) ([]byte, error) {
	request.Answer = a.answer
	return a.caller.Call(ctx, request)
}

func (a *askedCaller) Stream(ctx context.Context, request *conn.Request) (*conn.Messages, error) {
	request.Answer = a.answer
	return a.caller.Stream(ctx, request)
}

// answer writes a reply for the wire.
func (r *Reply) answer() (*pb.Answer, error) {
	if r == nil {
		return &pb.Answer{Action: string(Declined)}, nil
	}
	switch {
	case r.Decision != Accepted && r.Decision != Declined && r.Decision != Cancelled:
		return nil, invalid("the decision of a reply is Accepted, Declined or Cancelled, not %.60q", r.Decision)
	case r.Content == nil:
		return &pb.Answer{Action: string(r.Decision)}, nil
	case r.Decision != Accepted:
		return nil, invalid("a reply with the decision %q has no content; leave it out", r.Decision)
	}
	content := new(structpb.Struct)
	text, err := json.Marshal(r.Content)
	if err == nil {
		err = content.UnmarshalJSON(text)
	}
	if err != nil {
		return nil, invalid("the content of a reply is Args or a struct of texts, numbers and booleans: %v", err)
	}
	answer := &pb.Answer{Action: string(r.Decision), Content: content}
	if size := proto.Size(answer); size > maxReplyBytes {
		return nil, invalid("the reply to a question takes %d bytes; the limit is %d", size, maxReplyBytes)
	}
	return answer, nil
}

// Ask asks the caller of the tool that ctx belongs to, and waits for the answer, within the deadline of the call.
//
// The fields of the struct that content points to are asked for, by the tags that Tool reads; they are texts, numbers
// and booleans. They are set if the question is accepted. With a nil content the caller only accepts or declines.
//
//	var form struct {
//		Reason string `json:"reason" doc:"for the log"`
//	}
//	decision, err := toolbridge.Ask(ctx, "Delete 3 files?", &form)
//
// The error is ErrUnimplemented if the caller cannot answer: a client without WithOnAsk, or one that has gone. It is
// ErrValidation if the answer does not fit, ErrResourceExhausted if 100 questions of the call wait. Ask panics if ctx is
// not that of a tool, or derived from it.
func Ask(ctx context.Context, message string, content any) (Decision, error) {
	invocation := FromContext(ctx)
	if _, asks := invocation.served.Metadata[link.AsksKey]; !asks {
		return "", &Error{Type: ErrUnimplemented.Type, Origin: originBridge, Message: invocation.Tool +
			" asked its caller, who cannot answer: it is a client without WithOnAsk, made a plain RPC, or has gone"}
	}
	form, schema, err := formOf(content)
	if err != nil {
		return "", err
	}
	message = validText(message)
	if message == "" || utf8.RuneCountInString(message) > maxQuestionChars || utf8.RuneCountInString(schema) > maxSchemaChars {
		return "", invalid("a question has a message of 1 to %d characters, and a schema of at most %d", maxQuestionChars, maxSchemaChars)
	}
	answer, err := invocation.served.Ask(ctx, &pb.Ask{Message: message, Schema: schema})
	if err != nil {
		return "", asError(err)
	}
	switch decision := Decision(answer.Action); decision {
	case Accepted:
		return decision, fill(form, answer.Content)
	case Declined, Cancelled:
		return decision, nil
	}
	return "", invalid("the question was answered with the unknown action %.60q", answer.Action)
}

// plainTypes are those that a question may ask for.
var plainTypes = []any{"string", "integer", "number", "boolean"}

// formOf returns the struct that an answer fills, and its schema; without any, the zero Value and an empty text.
func formOf(content any) (reflect.Value, string, error) {
	if content == nil {
		return reflect.Value{}, "", nil
	}
	place := reflect.ValueOf(content)
	if place.Kind() != reflect.Pointer || place.IsNil() || place.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, "", invalid("the content of a question is a pointer to a struct or nil, not a %T", content)
	}
	form := place.Elem()
	properties, required := schema{}, []string{}
	for _, field := range fields.Of(form.Type()) {
		if field.Required() {
			required = append(required, field.Name)
		}
		for field.Type.Kind() == reflect.Pointer {
			field.Type = field.Type.Elem()
		}
		described := fieldSchema(&field, map[reflect.Type]bool{})
		_, isKnown := knownSchemas[field.Type]
		if isKnown || !slices.Contains(plainTypes, described["type"]) || described["contentEncoding"] != nil {
			return form, "", invalid("a question asks for texts, numbers and booleans; %s is a %s", field.Name, field.Type)
		}
		properties[field.Name] = described
	}
	return form, schemaText(schema{"type": "object", "properties": properties, "required": required}), nil
}

// fill sets the fields of a form. The error names every one that does not fit; the form is then unchanged.
func fill(form reflect.Value, content *structpb.Struct) error {
	given := content.AsMap()
	problems := map[string]string{}
	filled := map[string]bool{}
	var fresh reflect.Value
	if form.IsValid() {
		fresh = reflect.New(form.Type()).Elem()
		fresh.Set(form)
		for _, field := range fields.Of(form.Type()) {
			filled[field.Name] = true
			if problem := fillOne(fresh.FieldByIndex(field.Index), &field, given); problem != "" {
				problems[field.Name] = problem
			}
		}
	}
	for name := range given {
		if !filled[name] {
			problems[name] = "it was not asked for"
		}
	}
	if len(problems) > 0 {
		return misfit("the answer does not fit the question", problems)
	}
	if form.IsValid() {
		form.Set(fresh)
	}
	return nil
}

func fillOne(target reflect.Value, field *fields.Field, given map[string]any) string {
	content, found := given[field.Name]
	switch {
	case !found && field.HasDefault:
		content = literalOf(field.Default, field.Type)
	case !found && field.Required():
		return "it is missing"
	case !found:
		return ""
	}
	if err := value.Convert(content, target.Addr().Interface()); err != nil {
		return err.Error()
	}
	return broken(target, field)
}

// misfit returns the error of contents that do not fit, by name.
func misfit(what string, problems map[string]string) *Error {
	names := make([]string, 0, len(problems))
	for name := range problems {
		names = append(names, name)
	}
	slices.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = fmt.Sprintf("%.128s: %s", name, problems[name])
	}
	err := invalid("%s: %s", what, strings.Join(texts, "; "))
	err.Details = problems
	return err
}
