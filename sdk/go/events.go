package toolbridge

import (
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Event is what a tool tells its caller while it runs: *Progress or *LogRecord.
type Event interface{ isEvent() }

// Progress says how far a tool is.
type Progress struct {
	Current float64
	// Total is 0 if it is not known.
	Total   float64
	Message string
}

// LogRecord is a log line of a tool.
type LogRecord struct {
	Level   slog.Level
	Logger  string
	Message string
	Fields  map[string]string
	Time    time.Time
}

func (*Progress) isEvent()  {}
func (*LogRecord) isEvent() {}

// tell passes on a metadata chunk of a stream.
func (s *Session) tell(metadata *pb.StreamMetadata) {
	if s.options.onEvent == nil {
		return
	}
	progress, log := new(pb.Progress), new(pb.LogRecord)
	switch {
	case metadata.GetValue().UnmarshalTo(progress) == nil:
		s.options.onEvent(progressOf(progress))
	case metadata.GetValue().UnmarshalTo(log) == nil:
		s.options.onEvent(logRecordOf(log))
	}
}

func progressOf(message *pb.Progress) *Progress {
	return &Progress{Current: message.GetCurrent(), Total: message.GetTotal(), Message: message.GetMessage()}
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
}

func logRecordOf(message *pb.LogRecord) *LogRecord {
	return &LogRecord{
		Level: levels[message.GetLevel()], Logger: message.GetLogger(), Message: message.GetMessage(),
		Fields: message.GetFields(), Time: message.GetTimestamp().AsTime(),
	}
}

// levelName returns the name of a level on the wire.
func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warning"
	}
	return "error"
}

// metadataOf writes an event as a metadata chunk of a stream.
func metadataOf(event *pb.LinkEvent) *pb.StreamMetadata {
	key := "progress"
	content := new(anypb.Any)
	switch kind := event.Kind.(type) {
	case *pb.LinkEvent_Progress:
		content, _ = anypb.New(kind.Progress)
	case *pb.LinkEvent_Log:
		key = "log"
		content, _ = anypb.New(kind.Log)
	}
	return &pb.StreamMetadata{Key: key, Value: content}
}
