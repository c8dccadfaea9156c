package toolbridge

import (
	"context"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/fields"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Definition is a tool that a worker offers, made by Tool or StreamTool.
type Definition struct {
	spec *pb.ToolSpec
	// run calls the tool with bound arguments, and send with each value of the result.
	run func(ctx context.Context, in reflect.Value, send func(any) error) error
	// arguments are the fields of its input.
	arguments []fields.Field
	input     reflect.Type
	defaults  map[string]any
}

// Name returns the tool's name.
func (d *Definition) Name() string { return d.spec.Name }

// ToolOption is an option of Tool and StreamTool.
type ToolOption func(*pb.ToolSpec)

// Idempotent says that calling the tool twice has the same effect as calling it once, so that a failed call may be
// repeated.
func Idempotent() ToolOption { return func(s *pb.ToolSpec) { s.Idempotent = true } }

// Version sets the tool's version. Workers that offer the same tool must have the same one.
func Version(version string) ToolOption { return func(s *pb.ToolSpec) { s.Version = version } }

// Timeout limits how long a call of the tool may take.
func Timeout(timeout time.Duration) ToolOption {
	return func(s *pb.ToolSpec) { limitsOf(s).TimeoutMs = int32(timeout.Milliseconds()) }
}

// MaxConcurrent limits how many calls of the tool run at once, over all sessions; further ones wait in order.
func MaxConcurrent(calls int) ToolOption {
	return func(s *pb.ToolSpec) { limitsOf(s).MaxConcurrentCalls = int32(calls) }
}

// RateLimit limits the calls of the tool in a minute, over all sessions; further ones are refused.
func RateLimit(perMinute int) ToolOption {
	return func(s *pb.ToolSpec) { limitsOf(s).RateLimitPerMinute = int32(perMinute) }
}

// ToolMetadata is shown with the tool.
func ToolMetadata(metadata map[string]string) ToolOption {
	return func(s *pb.ToolSpec) { s.Metadata = metadata }
}

func limitsOf(spec *pb.ToolSpec) *pb.ResourceLimits {
	if spec.Limits == nil {
		spec.Limits = new(pb.ResourceLimits)
	}
	return spec.Limits
}

// Tool makes a tool of a function. The fields of In, a struct, are the tool's arguments, in order; the result is what
// value.Encode makes of Out. The tags of a field say:
//
//	json:"name,omitempty"   its name, and that it is optional; so are fields with a default, and pointers
//	doc:"…"                 what it means
//	default:"5"             its value if it is not given: a text as it is, anything else as JSON
//	enum:"a,b"              the values that it may have
//	min:"1" max:"10"        the bounds of a number
//
// The context ends with the call: at its deadline, when it is cancelled, or when the connection is lost. Its caller then
// has its answer already. FromContext gives what else belongs to the call. A panic is an error of the call, with its
// stack. Tool panics if In is no struct, or a default is no value of its field.
func Tool[In, Out any](name, description string, run func(ctx context.Context, in In) (Out, error), options ...ToolOption) *Definition {
	return define[In, Out](name, description, pb.ToolType_STANDARD, options,
		func(ctx context.Context, in reflect.Value, send func(any) error) error {
			out, err := run(ctx, in.Interface().(In))
			if err != nil {
				return err
			}
			return send(out)
		})
}

// StreamTool makes a streaming tool of a function; see Tool. Each value that it sends goes to the caller at once; send
// waits while the caller is slow, and fails when the call has ended.
func StreamTool[In, Out any](name, description string, run func(ctx context.Context, in In, send func(Out) error) error, options ...ToolOption) *Definition {
	return define[In, Out](name, description, pb.ToolType_STREAMING, options,
		func(ctx context.Context, in reflect.Value, send func(any) error) error {
			return run(ctx, in.Interface().(In), func(item Out) error { return send(item) })
		})
}

func define[In, Out any](name, description string, kind pb.ToolType, options []ToolOption, run func(context.Context, reflect.Value, func(any) error) error) *Definition {
	input := reflect.TypeFor[In]()
	if input.Kind() != reflect.Struct {
		panic(fmt.Sprintf("toolbridge: the input of the tool %q must be a struct whose fields are its arguments, not %s", name, input))
	}
	output, python := schemaOf(reflect.TypeFor[Out](), map[reflect.Type]bool{})
	d := &Definition{run: run, input: input, arguments: fields.Of(input), defaults: map[string]any{}}
	d.spec = &pb.ToolSpec{
		ToolId: name, Name: name, Description: description, Type: kind,
		InputSchema: schemaText(objectSchema(input, map[reflect.Type]bool{})), OutputSchema: schemaText(output),
		ReturnType: &pb.ArgumentSpec{Name: "return", PythonType: python},
	}
	for i := range d.arguments {
		d.spec.Arguments = append(d.spec.Arguments, d.describe(name, &d.arguments[i]))
	}
	for _, option := range options {
		option(d.spec)
	}
	return d
}

// describe returns the spec of an argument, and keeps its default.
func (d *Definition) describe(tool string, field *fields.Field) *pb.ArgumentSpec {
	_, python := schemaOf(field.Type, map[reflect.Type]bool{})
	spec := &pb.ArgumentSpec{
		Name: field.Name, PythonType: python, Required: field.Required(), Description: field.Description,
		AllowedValues: field.Enum,
	}
	if rules := rulesOf(field); rules != nil {
		spec.Validation = rules
	}
	if field.Required() {
		return spec
	}
	var content any
	if field.HasDefault {
		content = literalOf(field.Default, field.Type)
	} else if field.Type.Kind() != reflect.Pointer {
		content = reflect.Zero(field.Type).Interface()
	}
	packed, err := value.Encode(content)
	if err == nil && field.HasDefault {
		content, _ = value.Decode(packed)
		err = value.Convert(content, reflect.New(field.Type).Interface())
		d.defaults[field.Name] = content
	}
	if err != nil && field.HasDefault {
		panic(fmt.Sprintf("toolbridge: the default of %s in the tool %q cannot be used: %v", field.Name, tool, err))
	}
	spec.DefaultValue = packed
	return spec
}

func rulesOf(field *fields.Field) *pb.ValidationRules {
	var rules *pb.ValidationRules
	set := func(text string, place func(*pb.ValidationRules) **float64) {
		if number, err := strconv.ParseFloat(text, 64); err == nil {
			if rules == nil {
				rules = new(pb.ValidationRules)
			}
			*place(rules) = &number
		}
	}
	set(field.Minimum, func(r *pb.ValidationRules) **float64 { return &r.MinValue })
	set(field.Maximum, func(r *pb.ValidationRules) **float64 { return &r.MaxValue })
	return rules
}

// bind reads the arguments of a call into the tool's input. The error names every argument that is wrong.
func (d *Definition) bind(args []*anypb.Any, kwargs map[string]*anypb.Any) (reflect.Value, error) {
	in := reflect.New(d.input).Elem()
	problems := map[string]string{}
	if len(args) > len(d.arguments) {
		problems["*"] = fmt.Sprintf("it takes %d positional arguments, but %d were given", len(d.arguments), len(args))
	}
	for name := range kwargs {
		if !slices.ContainsFunc(d.arguments, func(f fields.Field) bool { return f.Name == name }) {
			problems[name] = "there is no such argument"
		}
	}
	for i := range d.arguments {
		field := &d.arguments[i]
		if problem := d.bindOne(in.FieldByIndex(field.Index), field, i, args, kwargs); problem != "" {
			problems[field.Name] = problem
		}
	}
	if len(problems) > 0 {
		return in, misfit(d.spec.Name, problems)
	}
	return in, nil
}

// bindOne reads one argument; it returns what is wrong with it.
func (d *Definition) bindOne(target reflect.Value, field *fields.Field, place int, args []*anypb.Any, kwargs map[string]*anypb.Any) string {
	given, isNamed := kwargs[field.Name]
	if place < len(args) {
		if isNamed {
			return "it was given by position and by name"
		}
		given = args[place]
	}
	if given == nil {
		if content, found := d.defaults[field.Name]; found {
			given, _ = value.Encode(content)
		} else if field.Required() {
			return "it is missing"
		} else {
			return ""
		}
	}
	if err := value.DecodeInto(given, target.Addr().Interface()); err != nil {
		return err.Error()
	}
	return broken(target, field)
}

// broken returns which rule of a field its value breaks; empty if none.
func broken(target reflect.Value, field *fields.Field) string {
	for target.Kind() == reflect.Pointer {
		if target.IsNil() {
			return ""
		}
		target = target.Elem()
	}
	if len(field.Enum) > 0 && !slices.Contains(field.Enum, fmt.Sprint(target.Interface())) {
		return "it must be one of " + strings.Join(field.Enum, ", ")
	}
	if field.Minimum == "" && field.Maximum == "" {
		return ""
	}
	number, ok := numberOf(target)
	if !ok {
		return ""
	}
	if least, err := strconv.ParseFloat(field.Minimum, 64); err == nil && number < least {
		return "it must be at least " + field.Minimum
	}
	if most, err := strconv.ParseFloat(field.Maximum, 64); err == nil && number > most {
		return "it must be at most " + field.Maximum
	}
	return ""
}

func numberOf(v reflect.Value) (float64, bool) {
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	if whole, ok := v.Interface().(big.Int); ok {
		number, _ := new(big.Float).SetInt(&whole).Float64()
		return number, true
	}
	return 0, false
}
