package toolbridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/value"
)

// Error is every error of the bridge, and of a tool that was called. Find it with errors.As, or compare its type:
//
//	if errors.Is(err, toolbridge.ErrToolNotFound) { … }
//
// A call that timed out is also context.DeadlineExceeded, one that was cancelled context.Canceled.
type Error struct {
	// Type is one of the bridge's error types, such as "ToolNotFound", or the class of the error that a tool raised.
	Type string
	// Message says what was wrong and what to do.
	Message string
	// Details are further facts by name.
	Details map[string]string
	// Retryable says that the same call may succeed later.
	Retryable bool
	// Origin is "tool" if a tool raised the error, else "bridge".
	Origin string
	// Stack is the remote stack trace, if the hub sends any.
	Stack string
	// Status is the name of the gRPC status, such as "UNAVAILABLE", if nobody answered the call; else empty.
	Status string
	// Tool is the name of the tool that was called, if any.
	Tool string

	cause error
}

const (
	originTool   = "tool"
	originBridge = "bridge"
	// typeCommunication is the type of a call that nobody answered.
	typeCommunication = "ToolCommunicationError"
	// maxErrorText bytes of a message are sent.
	maxErrorText = 64 << 10
)

// Errors to compare with by errors.Is: an *Error is one of them if it has the same type, and a tool did not raise it.
var (
	ErrToolNotFound      = &Error{Type: "ToolNotFound"}
	ErrVariableNotFound  = &Error{Type: "VariableNotFound"}
	ErrAgentNotFound     = &Error{Type: "AgentNotFound"}
	ErrSessionNotFound   = &Error{Type: "SessionNotFound"}
	ErrSessionExpired    = &Error{Type: "SessionExpired"}
	ErrValidation        = &Error{Type: "ValidationError"}
	ErrSerialization     = &Error{Type: "SerializationError"}
	ErrAlreadyExists     = &Error{Type: "AlreadyExists"}
	ErrRevisionConflict  = &Error{Type: "RevisionConflict"}
	ErrResourceExhausted = &Error{Type: "ResourceExhausted"}
	ErrTimeout           = &Error{Type: "TimeoutError"}
	ErrCancelled         = &Error{Type: "Cancelled"}
	ErrMessageTooLarge   = &Error{Type: "MessageTooLarge"}
	ErrWorkerUnavailable = &Error{Type: "WorkerUnavailable"}
	ErrPermissionDenied  = &Error{Type: "PermissionDenied"}
	ErrUnauthenticated   = &Error{Type: "Unauthenticated"}
	// ErrUnimplemented is a tool that asked a caller who cannot answer, or a method that the hub does not have.
	ErrUnimplemented = &Error{Type: "Unimplemented"}
	// ErrUnavailable is a call that was not answered: the hub was not reached, or the connection was lost.
	ErrUnavailable = &Error{Type: typeCommunication}
)

// rule is a row of the table of error types.
type rule struct {
	code      codes.Code
	retryable bool
}

var errorTable = map[string]rule{
	"ToolNotFound":        {codes.NotFound, false},
	"VariableNotFound":    {codes.NotFound, false},
	"AgentNotFound":       {codes.NotFound, false},
	"SessionNotFound":     {codes.NotFound, false},
	"SessionExpired":      {codes.FailedPrecondition, false},
	"ValidationError":     {codes.InvalidArgument, false},
	"SerializationError":  {codes.InvalidArgument, false},
	"AlreadyExists":       {codes.AlreadyExists, false},
	"RevisionConflict":    {codes.Aborted, false},
	"IdempotencyConflict": {codes.Aborted, false},
	"RateLimitExceeded":   {codes.ResourceExhausted, true},
	"ResourceExhausted":   {codes.ResourceExhausted, true},
	"TimeoutError":        {codes.DeadlineExceeded, true},
	"Cancelled":           {codes.Canceled, false},
	"MessageTooLarge":     {codes.ResourceExhausted, false},
	"WorkerUnavailable":   {codes.Unavailable, true},
	"PermissionDenied":    {codes.PermissionDenied, false},
	"Unauthenticated":     {codes.Unauthenticated, false},
	"Unimplemented":       {codes.Unimplemented, false},
	"InternalError":       {codes.Internal, false},
}

// Errorf returns an error for a tool to return: the caller gets the type and the message.
//
//	return 0, toolbridge.Errorf("OutOfStock", "there are only %d left", n)
func Errorf(errorType, format string, args ...any) *Error {
	return &Error{Type: errorType, Message: fmt.Sprintf(format, args...), Origin: originTool}
}

// Error returns the tool, the type and the message.
func (e *Error) Error() string {
	var text strings.Builder
	message := e.Message
	if e.Tool != "" {
		text.WriteString(e.Tool + ": ")
		// The bridge's own texts begin with the tool's name, for readers who only see the message.
		message = strings.TrimPrefix(message, e.Tool+": ")
	}
	if e.Status != "" {
		text.WriteString(e.Status)
	} else {
		text.WriteString(e.Type)
	}
	if message != "" {
		text.WriteString(": " + message)
	}
	return text.String()
}

// Unwrap returns what caused the error at this end, such as the context's error.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an error of the same type, or the context's error for a timeout or a cancellation.
func (e *Error) Is(target error) bool {
	if e.Origin == originTool {
		return false
	}
	switch target {
	case context.DeadlineExceeded:
		return e.Type == ErrTimeout.Type || e.Status == "DEADLINE_EXCEEDED"
	case context.Canceled:
		return e.Type == ErrCancelled.Type
	}
	other, ok := target.(*Error)
	return ok && other.Message == "" && other.Type == e.Type
}

// RetryAfter returns how long to wait before the next try, if the answer says so.
func (e *Error) RetryAfter() (time.Duration, bool) {
	seconds, err := strconv.ParseFloat(e.Details["retry_after"], 64)
	if err != nil || seconds < 0 || seconds > 1e9 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// code returns the gRPC status of an error.
func (e *Error) code() codes.Code {
	if found, ok := errorTable[e.Type]; ok && e.Origin != originTool {
		return found.code
	}
	return codes.Unknown
}

// info writes the error for the wire.
func (e *Error) info() *pb.ErrorInfo {
	details := make(map[string]string, len(e.Details)+1)
	for name, text := range e.Details {
		details[validText(name)] = validText(text)
	}
	details["origin"] = e.Origin
	if e.Origin == "" {
		details["origin"] = originBridge
	}
	message := e.Message
	if len(message) > maxErrorText {
		message = strings.ToValidUTF8(message[:maxErrorText], "") + "…"
	}
	return &pb.ErrorInfo{
		Type: validText(e.Type), Message: validText(message), Details: details, Stacktrace: validText(e.Stack),
		Timestamp: timestamppb.Now(), Retryable: e.Retryable,
	}
}

func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// errorOf reads an error from the wire.
func errorOf(info *pb.ErrorInfo) *Error {
	e := &Error{
		Type: info.GetType(), Message: info.GetMessage(), Details: info.GetDetails(), Stack: info.GetStacktrace(),
		Retryable: info.GetRetryable(), Origin: info.GetDetails()["origin"],
	}
	if e.Type == "" {
		return &Error{Type: "ProtocolError", Message: "the answer reports a failure, but has no error.type", Origin: originBridge}
	}
	if e.Origin == "" {
		e.Origin = originBridge
	}
	// The types of the table have this flag even if a peer leaves it out.
	if found, ok := errorTable[e.Type]; ok && e.Origin != originTool {
		e.Retryable = e.Retryable || found.retryable
	}
	return e
}

// errorOfStatus reads an error from a status: the ErrorInfo in it, or what the code alone says.
func errorOfStatus(code codes.Code, message string, info *pb.ErrorInfo) *Error {
	if info.GetType() != "" {
		return errorOf(info)
	}
	if code == codes.ResourceExhausted && (strings.Contains(message, "larger than max") || strings.Contains(message, "message too large")) {
		return &Error{Type: "MessageTooLarge", Message: "message too large: " + message, Origin: originBridge}
	}
	return &Error{
		Type: typeCommunication, Message: message, Status: statusName(code), Origin: originBridge,
		Retryable: code == codes.Unavailable || code == codes.DeadlineExceeded,
	}
}

// statusName returns the name of a gRPC status, such as "DEADLINE_EXCEEDED".
func statusName(code codes.Code) string {
	switch code {
	case codes.Canceled:
		return "CANCELLED"
	case codes.OK:
		return "OK"
	}
	var name strings.Builder
	for i, c := range code.String() {
		if i > 0 && 'A' <= c && c <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(c)
	}
	return strings.ToUpper(name.String())
}

// asError returns any error of the parts below as an *Error; nil stays nil.
func asError(err error) error {
	if err == nil {
		return nil
	}
	return errorFrom(err)
}

func errorFrom(err error) *Error {
	var (
		own       *Error
		ended     *conn.Ended
		failure   *conn.Failure
		malformed *value.Error
		refused   *link.Error
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &ended):
		return errorOfStatus(codes.Code(ended.Status.GetCode()), ended.Status.GetMessage(), ended.Status.GetError())
	case errors.As(err, &failure):
		return errorOfStatus(failure.Code, failure.Message, failure.Info)
	case conn.IsUnsent(err):
		return errorOfStatus(codes.Unavailable, "the connection was lost before the call was sent", nil)
	case errors.As(err, &malformed):
		return &Error{Type: ErrSerialization.Type, Message: malformed.Message, Origin: originBridge, cause: err}
	case errors.As(err, &refused):
		return &Error{Type: refused.Type, Message: refused.Message, Origin: originBridge, cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Type: ErrTimeout.Type, Message: "the call did not end within its deadline", Retryable: true, Origin: originBridge, cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Type: ErrCancelled.Type, Message: "the call was cancelled by its caller", Origin: originBridge, cause: err}
	}
	return &Error{Type: "InternalError", Message: err.Error(), Origin: originBridge, cause: err}
}

// ofTool returns an error with the name of the tool that was called.
func ofTool(err error, tool string) error {
	own := errorFrom(err)
	if own.Tool != "" {
		return own
	}
	copied := *own
	copied.Tool = tool
	return &copied
}

func invalid(format string, args ...any) *Error {
	return &Error{Type: ErrValidation.Type, Message: fmt.Sprintf(format, args...), Origin: originBridge}
}

func protocolError(format string, args ...any) *Error {
	return &Error{Type: "ProtocolError", Message: fmt.Sprintf(format, args...), Origin: originBridge}
}

// unwritable returns the error of a value that cannot be encoded.
func unwritable(what string, err error) *Error {
	return &Error{Type: ErrSerialization.Type, Message: fmt.Sprintf("%s: %v", what, err), Origin: originBridge, cause: err}
}
