package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

const (
	linkMethod = "/dspex.bridge.SnakepitBridge/Link"
	// ErrorKey is the trailing metadata with the ErrorInfo of a status.
	ErrorKey = "tool-bridge-error-bin"
	// maxFrameBytes is far above what a peer sends in one frame.
	maxFrameBytes = 64 << 20
	// windowBytes is how much HTTP/2 lets the hub send ahead.
	windowBytes = 4 << 20
	// bufferBytes are written and read at once: a whole frame.
	bufferBytes = 256 << 10
)

// Channel dials links over one gRPC channel.
type Channel struct {
	channel *grpc.ClientConn
	token   string
}

// NewChannel returns a channel that connects when it is first used. tlsConfig is nil for a connection without TLS.
func NewChannel(address, token string, tlsConfig *tls.Config, options ...grpc.DialOption) (*Channel, error) {
	transport := insecure.NewCredentials()
	if tlsConfig != nil {
		transport = credentials.NewTLS(tlsConfig)
	}
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFrameBytes), grpc.ForceCodecV2(frameCodec{})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithReadBufferSize(bufferBytes),
		// The pauses between the dials of a link decide.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond},
			MinConnectTimeout: 10 * time.Second,
		}),
		// Only the bridge knows which calls may be repeated, and DNS must not configure how they are made.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	}, options...)
	channel, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, err
	}
	return &Channel{channel, token}, nil
}

// Dial opens a stream; whether a hub takes it, only the first frame tells.
func (c *Channel) Dial(context.Context) (Stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	c.channel.ResetConnectBackoff()
	stream, err := c.channel.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, linkMethod)
	if err != nil {
		cancel()
		return nil, failureOf(err)
	}
	return &grpcStream{stream, cancel}, nil
}

// Close closes the channel.
func (c *Channel) Close() error { return c.channel.Close() }

type grpcStream struct {
	stream grpc.ClientStream
	cancel context.CancelFunc
}

func (s *grpcStream) Send(frame []byte) error { return s.stream.SendMsg(&frame) }

func (s *grpcStream) Recv() ([]byte, error) {
	var frame []byte
	err := s.stream.RecvMsg(&frame)
	if err == nil {
		return frame, nil
	}
	failure := failureOf(err)
	if values := s.stream.Trailer().Get(ErrorKey); len(values) > 0 {
		failure.Info = ReadInfo([]byte(values[0]))
	}
	return nil, failure
}

func (s *grpcStream) Close() { s.cancel() }

// ReadInfo reads an ErrorInfo from trailing metadata; nil if it cannot be read, or says nothing.
func ReadInfo(data []byte) *pb.ErrorInfo {
	info := new(pb.ErrorInfo)
	if proto.Unmarshal(data, info) != nil || info.Type == "" {
		return nil
	}
	return info
}

func failureOf(err error) *Failure {
	var failure *Failure
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.Is(err, io.EOF):
		return &Failure{Code: codes.Unavailable, Message: "the hub ended the link"}
	}
	found := status.Convert(err)
	return &Failure{Code: found.Code(), Message: found.Message()}
}

// frameCodec passes frames as they are: their envelopes are read and written by the link.
type frameCodec struct{}

func (frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name is that of protobuf's codec, since a frame is a message.
func (frameCodec) Name() string { return "proto" }
