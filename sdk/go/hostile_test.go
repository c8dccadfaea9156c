package toolbridge_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// rawCodec passes frames as they are, so that a hub can send what is none.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (rawCodec) Name() string { return "proto" }

// hostileLink is the hub's end of a link that breaks the rules.
type hostileLink struct {
	stream grpc.ServerStream
	read   []*pb.Envelope
}

func (h *hostileLink) sendRaw(frame []byte) error { return h.stream.SendMsg(&frame) }

func (h *hostileLink) send(envelopes ...*pb.Envelope) error {
	frame, err := proto.Marshal(&pb.LinkFrame{Envelopes: envelopes})
	if err != nil {
		return err
	}
	return h.sendRaw(frame)
}

// call returns the next call of the peer; those that open a session are answered.
func (h *hostileLink) call() (*pb.Envelope, error) {
	for {
		for len(h.read) > 0 {
			envelope := h.read[0]
			h.read = h.read[1:]
			switch envelope.GetCall().GetMethod() {
			case "":
			case "InitializeSession":
				if err := h.reply(envelope.Id, &pb.InitializeSessionResponse{Success: true}); err != nil {
					return nil, err
				}
			case "GetSessionInfo":
				if err := h.reply(envelope.Id, &pb.SessionInfo{}); err != nil {
					return nil, err
				}
			case "RegisterTools":
				if err := h.reply(envelope.Id, &pb.RegisterToolsResponse{Success: true}); err != nil {
					return nil, err
				}
			default:
				return envelope, nil
			}
		}
		var data []byte
		if err := h.stream.RecvMsg(&data); err != nil {
			return nil, err
		}
		frame := new(pb.LinkFrame)
		if err := proto.Unmarshal(data, frame); err != nil {
			return nil, err
		}
		h.read = frame.Envelopes
	}
}

func (h *hostileLink) reply(id uint64, message proto.Message) error {
	payload, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	return h.send(replyOf(id, payload))
}

func replyOf(id uint64, payload []byte) *pb.Envelope {
	return &pb.Envelope{Id: id, Kind: &pb.Envelope_Reply{Reply: payload}}
}

func chunkOf(id uint64, payload []byte) *pb.Envelope {
	return &pb.Envelope{Id: id, Kind: &pb.Envelope_Chunk{Chunk: payload}}
}

func helloOf(protocol uint32) *pb.Envelope {
	return &pb.Envelope{Kind: &pb.Envelope_Hello{Hello: &pb.LinkHello{Protocol: protocol, Peer: "hostile"}}}
}

// hostileHub starts a hub that does the same to every link; the link ends with what act returns.
func hostileHub(t *testing.T, act func(*hostileLink) error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.MaxSendMsgSize(1<<30),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return act(&hostileLink{stream: stream}) }))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// deeply returns a list in a list in a list.
func deeply(levels int) []byte {
	var data []byte
	for range levels {
		// A Value with a ListValue with that.
		inner := append([]byte{0x0a}, lengthed(data)...)
		data = append([]byte{0x32}, lengthed(inner)...)
	}
	return append([]byte{0x0a}, lengthed(data)...)
}

func lengthed(data []byte) []byte {
	size := len(data)
	var prefix []byte
	for ; size >= 0x80; size >>= 7 {
		prefix = append(prefix, byte(size)|0x80)
	}
	return append(append(prefix, byte(size)), data...)
}

func answerOf(typeURL string, data []byte) []byte {
	payload, _ := proto.Marshal(&pb.ToolCallResponse{Success: true, Result: &anypb.Any{TypeUrl: typeURL, Value: data}})
	return payload
}

func malformedResults() map[string][]byte {
	const known = "type.googleapis.com/"
	return map[string][]byte{
		"an answer that is no message":    {0xff, 0xff, 0xff},
		"an answer with nothing in it":    {},
		"a success without a result":      {0x08, 0x01},
		"a failure without an error":      {0x08, 0x00},
		"an error without a type":         {0x1a, 0x00},
		"a result of an unknown kind":     answerOf("", []byte("x")),
		"a result that is no message":     answerOf(known+"google.protobuf.ListValue", []byte{0xff}),
		"a text that is not UTF-8":        answerOf(known+"google.protobuf.StringValue", []byte{0x0a, 1, 0xff}),
		"lists 5,000 deep":                answerOf(known+"google.protobuf.ListValue", deeply(5_000)),
		"JSON 100,000 deep":               answerOf(known+"dspex.bridge.Json", append([]byte{0x0a}, lengthed(bytes.Repeat([]byte("["), 100_000))...)),
		"a tensor that is not all there":  answerOf(known+"dspex.bridge.Tensor", []byte{0x0a, 3, '<', 'f', '8', 0x12, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}),
		"a number with 1,000,000 digits ": answerOf(known+"dspex.bridge.Json", append([]byte{0x0a}, lengthed(bytes.Repeat([]byte("9"), 1_000_000))...)),
	}
}

func TestAnAnswerThatCannotBeReadIsAnErrorOfItsCall(t *testing.T) {
	for what, payload := range malformedResults() {
		t.Run(what, func(t *testing.T) {
			address := hostileHub(t, func(h *hostileLink) error {
				if err := h.send(helloOf(1)); err != nil {
					return err
				}
				for {
					call, err := h.call()
					if err != nil {
						return err
					}
					if call.GetCall().GetMethod() == "HealthCheck" {
						err = h.reply(call.Id, &pb.HealthCheckResponse{Status: pb.HealthCheckResponse_SERVING})
					} else {
						err = h.send(replyOf(call.Id, payload))
					}
					if err != nil {
						return err
					}
				}
			})
			client, ctx := newClient(t, address), testContext(t)
			session, err := client.Session(ctx, "s")
			if err != nil {
				t.Fatal(err)
			}
			result, err := session.Call(ctx, "any")
			var own *toolbridge.Error
			if !errors.As(err, &own) {
				t.Errorf("the call gave %.100v, %v", result, err)
			}
			if serving, err := client.Health(ctx); !serving || err != nil {
				t.Errorf("the link did not go on: %v", err)
			}
		})
	}
}

// violations are what a hub does instead of answering the call with the id.
func violations() map[string]func(*hostileLink, uint64) error {
	envelope := func(make func(id uint64) *pb.Envelope) func(*hostileLink, uint64) error {
		return func(h *hostileLink, id uint64) error { return h.send(make(id)) }
	}
	raw := func(frame ...byte) func(*hostileLink, uint64) error {
		return func(h *hostileLink, _ uint64) error { return h.sendRaw(frame) }
	}
	return map[string]func(*hostileLink, uint64) error{
		"garbage":                           raw(0xff, 0xfe, 0xfd, 0x00, 0x01),
		"an envelope longer than its frame": raw(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00),
		"a length of ten bytes":             raw(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"an envelope with nothing in it":    raw(0x0a, 0x02, 0x08, 0x01),
		"a second hello":                    envelope(func(uint64) *pb.Envelope { return helloOf(1) }),
		"an answer to a call that was never made": envelope(func(id uint64) *pb.Envelope {
			return replyOf(id+1_000, nil)
		}),
		"an answer to its own call": envelope(func(id uint64) *pb.Envelope { return replyOf(id+1, nil) }),
		"an answer to 2**64-1":      envelope(func(uint64) *pb.Envelope { return replyOf(1<<64-1, nil) }),
		"a chunk of a unary call":   envelope(func(id uint64) *pb.Envelope { return chunkOf(id, nil) }),
		"an end without an answer": envelope(func(id uint64) *pb.Envelope {
			return &pb.Envelope{Id: id, Kind: &pb.Envelope_End{End: new(pb.LinkStatus)}}
		}),
		"a cancel of a call that it never made": envelope(func(id uint64) *pb.Envelope {
			return &pb.Envelope{Id: id + 1, Kind: &pb.Envelope_Cancel{Cancel: new(pb.LinkCancel)}}
		}),
		"credit for a call that it never made": envelope(func(id uint64) *pb.Envelope {
			return &pb.Envelope{Id: id + 1, Kind: &pb.Envelope_Credit{Credit: 1}}
		}),
		"a call with a number of the client": envelope(func(id uint64) *pb.Envelope {
			return &pb.Envelope{Id: id + 2, Kind: &pb.Envelope_Call{Call: &pb.LinkCall{Method: "ExecuteTool"}}}
		}),
		"a question to a client that does not answer": envelope(func(id uint64) *pb.Envelope {
			return &pb.Envelope{Id: id, Kind: &pb.Envelope_Event{Event: &pb.LinkEvent{Kind: &pb.LinkEvent_Ask{Ask: &pb.Ask{Id: "1"}}}}}
		}),
		"pieces of 65 MiB": func(h *hostileLink, id uint64) error {
			for range 130 {
				if err := h.send(&pb.Envelope{Id: id, Kind: &pb.Envelope_Part{Part: make([]byte, 512<<10)}}); err != nil {
					return err
				}
			}
			return nil
		},
		"a hundred thousand empty pieces": func(h *hostileLink, id uint64) error {
			pieces := make([]*pb.Envelope, 1_000)
			for i := range pieces {
				pieces[i] = &pb.Envelope{Id: id, Kind: &pb.Envelope_Part{}}
			}
			for range 100 {
				if err := h.send(pieces...); err != nil {
					return err
				}
			}
			return nil
		},
		"a frame beyond all limits": func(h *hostileLink, _ uint64) error { return h.sendRaw(make([]byte, 65<<20)) },
		"the end of the link":       func(*hostileLink, uint64) error { return nil },
		"a status that says nothing": func(h *hostileLink, _ uint64) error {
			h.stream.SetTrailer(metadata.Pairs("tool-bridge-error-bin", "\xff\xff\xff"))
			return status.Error(codes.Unknown, strings.Repeat("x", 1_000))
		},
	}
}

func TestAHubThatBreaksTheRulesLosesItsLinkAndNothingElse(t *testing.T) {
	for what, violate := range violations() {
		t.Run(what, func(t *testing.T) {
			address := hostileHub(t, func(h *hostileLink) error {
				if err := h.send(helloOf(1)); err != nil {
					return err
				}
				call, err := h.call()
				if err != nil {
					return err
				}
				if err := violate(h, call.Id); err != nil || what == "the end of the link" {
					return err
				}
				_, err = h.call()
				return err
			})
			ctx := testContext(t)
			session, err := newClient(t, address).Session(ctx, "s")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err = session.Call(ctx, "any")
				var own *toolbridge.Error
				if !errors.As(err, &own) || own.Status == "" {
					t.Errorf("the call gave %v", err)
				}
			}
		})
	}
}

func TestAHubThatIsSilentDoesNotHoldACallBeyondItsDeadline(t *testing.T) {
	for what, act := range map[string]func(*hostileLink) error{
		"after the hello": func(h *hostileLink) error {
			if err := h.send(helloOf(1)); err != nil {
				return err
			}
			for {
				if _, err := h.call(); err != nil {
					return err
				}
			}
		},
		"from the start": func(h *hostileLink) error {
			<-h.stream.Context().Done()
			return nil
		},
		"after the hello of another protocol": func(h *hostileLink) error {
			if err := h.send(helloOf(2)); err != nil {
				return err
			}
			<-h.stream.Context().Done()
			return nil
		},
		"since it drains": func(h *hostileLink) error {
			return h.send(helloOf(1), &pb.Envelope{Kind: &pb.Envelope_Drain{Drain: new(pb.LinkDrain)}})
		},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, stop := context.WithTimeout(testContext(t), 500*time.Millisecond)
			defer stop()
			client, err := toolbridge.Dial(ctx, hostileHub(t, act))
			if err == nil {
				var session *toolbridge.Session
				if session, err = client.Session(ctx, "s"); err == nil {
					_, err = session.Call(ctx, "any")
				}
				_ = client.Close()
			}
			if !errors.Is(err, toolbridge.ErrTimeout) && !errors.Is(err, toolbridge.ErrUnavailable) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

// streamed returns what a stream gives whose hub sends these chunks, and then an end.
func streamed(t *testing.T, send func(h *hostileLink, id uint64) error) (int, error) {
	t.Helper()
	address := hostileHub(t, func(h *hostileLink) error {
		if err := h.send(helloOf(1)); err != nil {
			return err
		}
		call, err := h.call()
		if err != nil {
			return err
		}
		if err := send(h, call.Id); err != nil {
			return err
		}
		_, err = h.call()
		return err
	})
	ctx := testContext(t)
	session, err := newClient(t, address).Session(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, err := range session.Stream(ctx, "any") {
		if err != nil {
			return read, err
		}
		read++
	}
	return read, nil
}

func dataChunk(sequence int32, data []byte) []byte {
	packed, _ := anypb.New(wrapperspb.Bytes(data))
	payload, _ := proto.Marshal(&pb.ToolStreamChunk{Sequence: sequence, Content: &pb.ToolStreamChunk_Data{Data: packed}})
	return payload
}

func TestAStreamThatBreaksTheRulesEndsWithAnError(t *testing.T) {
	end := func(id uint64) *pb.Envelope {
		return &pb.Envelope{Id: id, Kind: &pb.Envelope_End{End: new(pb.LinkStatus)}}
	}
	for what, send := range map[string]func(h *hostileLink, id uint64) error{
		"it ends without its last chunk": func(h *hostileLink, id uint64) error { return h.send(chunkOf(id, dataChunk(0, nil)), end(id)) },
		"it has a gap": func(h *hostileLink, id uint64) error {
			return h.send(chunkOf(id, dataChunk(0, nil)), chunkOf(id, dataChunk(2, nil)))
		},
		"it repeats a chunk": func(h *hostileLink, id uint64) error {
			return h.send(chunkOf(id, dataChunk(0, nil)), chunkOf(id, dataChunk(0, nil)))
		},
		"a chunk is empty":       func(h *hostileLink, id uint64) error { return h.send(chunkOf(id, nil)) },
		"a chunk cannot be read": func(h *hostileLink, id uint64) error { return h.send(chunkOf(id, []byte{0xff})) },
		"a reply comes":          func(h *hostileLink, id uint64) error { return h.send(replyOf(id, nil)) },
		"it sends more than it was granted": func(h *hostileLink, id uint64) error {
			frame := []*pb.Envelope{}
			for i := range 30 {
				frame = append(frame, chunkOf(id, dataChunk(int32(i), make([]byte, 1<<20))))
			}
			return h.send(frame...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			read, err := streamed(t, send)
			var own *toolbridge.Error
			if !errors.As(err, &own) || read > 2 {
				t.Errorf("%d values came, and %v", read, err)
			}
		})
	}
}

func TestAHubThatAsksWithoutEndLosesTheCall(t *testing.T) {
	address := hostileHub(t, func(h *hostileLink) error {
		if err := h.send(helloOf(1)); err != nil {
			return err
		}
		call, err := h.call()
		if err != nil {
			return err
		}
		for range 200 {
			ask := &pb.LinkEvent{Kind: &pb.LinkEvent_Ask{Ask: &pb.Ask{Id: "1", Message: "?"}}}
			if err := h.send(&pb.Envelope{Id: call.Id, Kind: &pb.Envelope_Event{Event: ask}}); err != nil {
				return err
			}
		}
		_, err = h.call()
		return err
	})
	client := newClient(t, address, toolbridge.WithOnAsk(func(ctx context.Context, _ *toolbridge.Question) (*toolbridge.Reply, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	ctx := testContext(t)
	session, err := client.Session(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Call(ctx, "any"); err == nil || !strings.Contains(err.Error(), "more than 100 questions") {
		t.Errorf("the call gave %v", err)
	}
}

func TestAListOfToolsThatNeverEndsIsAnError(t *testing.T) {
	// 100,000 tools without a name, and a token.
	page := append(bytes.Repeat([]byte{0x0a, 0x00}, 100_000), 0x1a, 1, 'x')
	address := hostileHub(t, func(h *hostileLink) error {
		if err := h.send(helloOf(1)); err != nil {
			return err
		}
		for {
			call, err := h.call()
			if err != nil {
				return err
			}
			if err := h.send(replyOf(call.Id, page)); err != nil {
				return err
			}
		}
	})
	ctx := testContext(t)
	session, err := newClient(t, address).Session(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	var own *toolbridge.Error
	if tools, err := session.Tools(ctx); !errors.As(err, &own) || own.Type != "ProtocolError" {
		t.Errorf("%d tools came, and %v", len(tools), err)
	}
}

func TestAWorkerOutlivesAHubThatCallsItWithGarbage(t *testing.T) {
	called := make(chan error, 1)
	address := hostileHub(t, func(h *hostileLink) error {
		if err := h.send(helloOf(1)); err != nil {
			return err
		}
		id := uint64(0)
		for _, payload := range [][]byte{nil, {0xff}, bytes.Repeat([]byte{0x0a}, 1_000), {0x12, 5, 'n', 'o', 'n', 'e', '!'}} {
			for _, method := range []string{"ExecuteTool", "StreamTool", "", "Link", strings.Repeat("x", 10_000)} {
				id += 2
				if err := h.send(&pb.Envelope{Id: id, Kind: &pb.Envelope_Call{Call: &pb.LinkCall{Method: method, Payload: payload}}}); err != nil {
					return err
				}
			}
		}
		request, _ := proto.Marshal(&pb.ToolCallRequest{ToolId: "go_add", Args: []*anypb.Any{{}, {}}, Kwargs: map[string]*anypb.Any{"c": nil}})
		id += 2
		if err := h.send(&pb.Envelope{Id: id, Kind: &pb.Envelope_Call{Call: &pb.LinkCall{Method: "ExecuteTool", Payload: request}}}); err != nil {
			return err
		}
		var data []byte
		for answered := 0; answered < int(id)/2; {
			if err := h.stream.RecvMsg(&data); err != nil {
				called <- err
				return err
			}
			frame := new(pb.LinkFrame)
			_ = proto.Unmarshal(data, frame)
			for _, envelope := range frame.Envelopes {
				if envelope.GetCall() != nil {
					_ = h.reply(envelope.Id, &pb.RegisterToolsResponse{Success: true})
				} else if envelope.GetEnd() != nil || envelope.GetReply() != nil {
					answered++
				}
			}
		}
		called <- nil
		_, err := h.call()
		return err
	})
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	worker := toolbridge.NewWorker(address, toolbridge.WithShutdownGrace(time.Millisecond))
	worker.Add(toolbridge.Tool("go_add", "Adds.", func(_ context.Context, in addArgs) (int, error) { return in.A + in.B, nil }))
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	if err := await(t, called, "the answer to every call"); err != nil {
		t.Error(err)
	}
	stop()
	if err := await(t, done, "the end of the worker"); err != nil {
		t.Error(err)
	}
}
