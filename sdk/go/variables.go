package toolbridge

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Variable describes a variable of a session.
type Variable struct {
	Name string
	// Type is the name of the value's type, in the language of its writer.
	Type string
	// Revision is that of the last change. Revisions rise across the session.
	Revision             uint64
	CreatedAt, UpdatedAt time.Time
	CreatedBy            string
	Tags                 map[string]string
	// Secret hides the value in listings, logs and dashboards.
	Secret bool
	// Size of the value in bytes; 0 if it was not listed.
	Size int
}

// SetOption is an option of Session.Set and Session.Delete.
type SetOption func(*setOptions)

type setOptions struct {
	metadata *pb.VariableMetadata
	expected *uint64
}

// IfRevision changes a variable only if this is its current revision, else the error is ErrRevisionConflict. 0: only if
// it does not exist.
func IfRevision(revision uint64) SetOption {
	return func(o *setOptions) { o.expected = &revision }
}

// Tags replace the tags of the variable.
func Tags(tags map[string]string) SetOption {
	return func(o *setOptions) { o.metadata.Tags = tags }
}

// Secret hides the value of the variable in listings, logs and dashboards, until it is deleted.
func Secret() SetOption { return func(o *setOptions) { o.metadata.Secret = true } }

func newSetOptions(options []SetOption) *setOptions {
	o := &setOptions{metadata: new(pb.VariableMetadata)}
	for _, option := range options {
		option(o)
	}
	return o
}

// Set sets a variable to any value that value.Encode takes, and returns its new revision.
func (s *Session) Set(ctx context.Context, name string, content any, options ...SetOption) (uint64, error) {
	packed, err := value.Encode(content)
	if err != nil {
		return 0, unwritable("variable "+strconv.Quote(name), err)
	}
	o := newSetOptions(options)
	response := new(pb.StatusResponse)
	err = unary(ctx, s.caller, "SetSessionVariable", &pb.SetVariableRequest{
		SessionId: s.id, VariableName: name, Value: packed, Metadata: o.metadata, CreateIfMissing: true, ExpectedRevision: o.expected,
	}, response)
	if err != nil {
		return 0, err
	}
	revision, err := strconv.ParseUint(response.Message, 10, 64)
	if err != nil {
		return 0, protocolError("%.40q is not the revision of a variable", response.Message)
	}
	return revision, nil
}

// Get returns the value of a variable in the form of package value. If there is none, the error is ErrVariableNotFound.
func (s *Session) Get(ctx context.Context, name string) (any, error) {
	return Get[any](ctx, s, name)
}

// Get returns the value of a variable as a T; see value.Convert.
func Get[T any](ctx context.Context, s *Session, name string) (T, error) {
	content, _, err := GetVariable[T](ctx, s, name)
	return content, err
}

// GetVariable returns the value of a variable as a T, and what is known of it, such as its revision.
func GetVariable[T any](ctx context.Context, s *Session, name string) (T, Variable, error) {
	var content T
	response := new(pb.VariableResponse)
	request := &pb.GetVariableRequest{SessionId: s.id, VariableName: name, IncludeMetadata: true}
	if err := unary(ctx, s.caller, "GetSessionVariable", request, response); err != nil {
		return content, Variable{}, err
	}
	if !response.Exists {
		return content, Variable{}, &Error{
			Type: ErrVariableNotFound.Type, Origin: originBridge,
			Message: "session " + strconv.Quote(s.id) + " has no variable " + strconv.Quote(name),
		}
	}
	err := value.DecodeInto(response.Value, &content)
	return content, variableOf(name, response.Metadata), asError(err)
}

func variableOf(name string, metadata *pb.VariableMetadata) Variable {
	return Variable{
		Name: name, Type: metadata.GetType(), Revision: metadata.GetRevision(), CreatedBy: metadata.GetCreatedBy(),
		CreatedAt: metadata.GetCreatedAt().AsTime(), UpdatedAt: metadata.GetUpdatedAt().AsTime(),
		Tags: metadata.GetTags(), Secret: metadata.GetSecret(),
	}
}

// Delete deletes a variable. If there is none, the error is ErrVariableNotFound.
func (s *Session) Delete(ctx context.Context, name string, options ...SetOption) error {
	request := &pb.DeleteVariableRequest{SessionId: s.id, VariableName: name, ExpectedRevision: newSetOptions(options).expected}
	return unary(ctx, s.caller, "DeleteSessionVariable", request, new(pb.StatusResponse))
}

// Variables lists the variables whose names begin with prefix, by name.
func (s *Session) Variables(ctx context.Context, prefix string) ([]Variable, error) {
	response := new(pb.ListVariablesResponse)
	request := &pb.ListVariablesRequest{SessionId: s.id, Prefix: prefix}
	if err := unary(ctx, s.caller, "ListSessionVariables", request, response); err != nil {
		return nil, err
	}
	variables := make([]Variable, len(response.Variables))
	for i, one := range response.Variables {
		variables[i] = variableOf(one.Name, one.Metadata)
		variables[i].Type, variables[i].Size = one.Type, int(one.SizeBytes)
	}
	return variables, nil
}

// Change is a change of a variable.
type Change struct {
	Name string
	// Operation is "set" for a new variable, "update", "delete", or "reset": forget the known values, the present ones
	// follow as "set".
	Operation string
	// Revision rises with each change; it compares within one epoch, a life of the hub.
	Revision uint64
	Epoch    string
	Time     time.Time

	content *anypb.Any
}

// Value returns the new value in the form of package value; nil if the variable was deleted.
func (c *Change) Value() (any, error) {
	if c.content == nil {
		return nil, nil
	}
	v, err := value.Decode(c.content)
	return v, asError(err)
}

// Into stores the new value in the variable that target points to; see value.Convert.
func (c *Change) Into(target any) error {
	return asError(value.DecodeInto(c.content, target))
}

// Watch iterates over the present values of variables, as "set", and then over their changes, until the context or the
// session ends. Without names it watches all. After a lost connection it goes on without missing or repeating a change;
// if the hub no longer has what was missed, a "reset" and the present values follow.
func (s *Session) Watch(ctx context.Context, names ...string) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		w := &watch{session: s, names: names, yield: yield}
		if err := w.run(ctx); err != nil && err != errLeft {
			yield(nil, err)
		}
	}
}

// watch is how far a watch has been read.
type watch struct {
	session *Session
	names   []string
	yield   func(*Change, error) bool
	// revision and epoch are where it goes on; seen is the last revision that came before the connection was lost.
	revision, seen uint64
	epoch          string
}

func (w *watch) run(ctx context.Context) error {
	return resumed(ctx, w.session.client != nil, func() (bool, error) {
		w.seen = w.revision
		request := &pb.WatchVariablesRequest{
			SessionId: w.session.id, VariableNames: w.names, IncludeInitial: w.revision == 0, FromRevision: w.revision, Epoch: w.epoch,
		}
		err := messages(ctx, w.session.caller, "WatchSessionVariables", request, w.take)
		return w.revision != w.seen, err
	})
}

func (w *watch) take(data []byte) (bool, error) {
	update := new(pb.VariableUpdate)
	if err := proto.Unmarshal(data, update); err != nil {
		return false, protocolError("a change of a variable cannot be read: %v", err)
	}
	switch {
	case update.Operation == "reset":
		// If the connection is lost before the first present value, all of them must come again.
		w.revision, w.seen = 0, 0
	case w.seen > 0 && update.Revision <= w.seen && update.Epoch == w.epoch:
		return true, nil
	default:
		w.revision, w.epoch = update.Revision, update.Epoch
	}
	return w.yield(&Change{
		Name: update.Name, Operation: update.Operation, Revision: update.Revision, Epoch: update.Epoch,
		Time: update.Timestamp.AsTime(), content: update.Value,
	}, nil), nil
}

// resumed reads a stream again each time that it is lost, with growing pauses, until it made no progress for 30 seconds.
func resumed(ctx context.Context, canResume bool, read func() (progressed bool, err error)) error {
	pauses := new(conn.Backoff)
	giveUpAt := time.Now().Add(conn.CallTimeout)
	for {
		began := time.Now()
		progressed, err := read()
		if !canResume || !isLost(err) {
			return err
		}
		if progressed || time.Since(began) > conn.CallTimeout {
			pauses, giveUpAt = new(conn.Backoff), time.Now().Add(conn.CallTimeout)
		} else if time.Now().After(giveUpAt) {
			return err
		}
		if !pauses.Wait(ctx) {
			return asError(ctx.Err())
		}
	}
}

// isLost reports whether a stream ended because of its connection, or because the hub is leaving.
func isLost(err error) bool {
	var own *Error
	return errors.As(err, &own) && (own.Status == "UNAVAILABLE" || errors.Is(err, ErrWorkerUnavailable))
}
