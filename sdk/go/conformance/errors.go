package main

import (
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/conn"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hooks"
)

func decodeError(r *request) (object, error) {
	var fields struct {
		Info   []byte
		Status *struct {
			Code    codes.Code
			Message string
		}
		Trailers map[string][]byte
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	if fields.Status != nil {
		info := conn.ReadInfo(fields.Trailers[conn.ErrorKey])
		return object{"meaning": meaningOf(hooks.ErrorOf(fields.Status.Code, fields.Status.Message, info))}, nil
	}
	info := new(pb.ErrorInfo)
	if err := proto.Unmarshal(fields.Info, info); err != nil {
		return nil, err
	}
	return object{"meaning": meaningOf(hooks.ErrorOf(codes.Unknown, "", info))}, nil
}

func meaningOf(err error) object {
	var own *toolbridge.Error
	errors.As(err, &own)
	if own.Status != "" {
		return object{"status": own.Status, "message": own.Message, "retryable": own.Retryable}
	}
	return object{
		"type": own.Type, "message": own.Message, "details": own.Details, "origin": own.Origin, "stacktrace": own.Stack,
		"retryable": own.Retryable,
	}
}

func encodeError(r *request) (object, error) {
	var fields struct {
		Meaning struct {
			Type, Message, Origin, Stacktrace string
			Details                           map[string]string
			Retryable                         bool
		}
		Timestamp struct {
			Seconds string
			Nanos   int32
		}
	}
	if err := r.read(&fields); err != nil {
		return nil, err
	}
	given := fields.Meaning
	info, code := hooks.InfoOf(&toolbridge.Error{
		Type: given.Type, Message: given.Message, Origin: given.Origin, Stack: given.Stacktrace, Details: given.Details,
		Retryable: given.Retryable,
	})
	seconds, err := strconv.ParseInt(fields.Timestamp.Seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	info.Timestamp = &timestamppb.Timestamp{Seconds: seconds, Nanos: fields.Timestamp.Nanos}
	data, err := proto.Marshal(info)
	return object{"info": text(data), "code": code}, err
}
