package link

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// Envelopes with a payload are written and read by hand: then a payload is copied only once, into its frame.

// Fields of Envelope.
const (
	kindCall  = 2
	kindReply = 3
	kindChunk = 4
	kindPart  = 12
)

// envelope is one that was received. Of a reply, a chunk or a part there is data, of a call call, of any other message.
type envelope struct {
	id      uint64
	kind    protowire.Number
	data    []byte
	call    callEnvelope
	message *pb.Envelope
}

type callEnvelope struct {
	method    string
	payload   []byte
	timeoutMS uint32
	metadata  map[string]string
	credit    uint32
}

// nextEnvelope takes the next envelope from a frame; nil if there is none left.
func nextEnvelope(frame []byte) (data, rest []byte, err error) {
	for len(frame) > 0 {
		number, wireType, n := protowire.ConsumeTag(frame)
		if n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		if number == 1 && wireType == protowire.BytesType {
			data, m := protowire.ConsumeBytes(frame[n:])
			if m < 0 {
				return nil, nil, protowire.ParseError(m)
			}
			return data, frame[n+m:], nil
		}
		m := protowire.ConsumeFieldValue(number, wireType, frame[n:])
		if m < 0 {
			return nil, nil, protowire.ParseError(m)
		}
		frame = frame[n+m:]
	}
	return nil, nil, nil
}

// read reads an envelope.
func (e *envelope) read(data []byte) error {
	*e = envelope{}
	if e.readPlain(data) {
		return nil
	}
	message := new(pb.Envelope)
	if err := proto.Unmarshal(data, message); err != nil {
		return err
	}
	*e = envelope{id: message.Id, message: message}
	switch kind := message.Kind.(type) {
	case *pb.Envelope_Reply:
		e.kind, e.data = kindReply, kind.Reply
	case *pb.Envelope_Chunk:
		e.kind, e.data = kindChunk, kind.Chunk
	case *pb.Envelope_Part:
		e.kind, e.data = kindPart, kind.Part
	case *pb.Envelope_Call:
		e.kind = kindCall
		e.call = callEnvelope{kind.Call.Method, kind.Call.Payload, kind.Call.TimeoutMs, kind.Call.Metadata, kind.Call.InitialCredit}
	}
	return nil
}

// readPlain reads an envelope of an id and a payload; false if it has anything else.
func (e *envelope) readPlain(data []byte) bool {
	if len(data) > 1 && data[0] == 1<<3 {
		id, n := protowire.ConsumeVarint(data[1:])
		if n < 0 {
			return false
		}
		e.id, data = id, data[1+n:]
	}
	number, wireType, n := protowire.ConsumeTag(data)
	if n < 0 || wireType != protowire.BytesType {
		return false
	}
	content, m := protowire.ConsumeBytes(data[n:])
	if m < 0 || n+m != len(data) {
		return false
	}
	e.kind, e.data = number, content
	switch number {
	case kindReply, kindChunk, kindPart:
		return true
	case kindCall:
		return e.call.read(content)
	}
	return false
}

// read reads a call without metadata; false if it is another.
func (c *callEnvelope) read(data []byte) bool {
	for len(data) > 0 {
		number, wireType, n := protowire.ConsumeTag(data)
		if n < 0 {
			return false
		}
		data = data[n:]
		switch {
		case wireType == protowire.BytesType && (number == 1 || number == 2):
			content, m := protowire.ConsumeBytes(data)
			if m < 0 || (number == 1 && !utf8.Valid(content)) {
				return false
			}
			if number == 1 {
				c.method = string(content)
			} else {
				c.payload = content
			}
			data = data[m:]
		case wireType == protowire.VarintType && (number == 3 || number == 5):
			value, m := protowire.ConsumeVarint(data)
			if m < 0 {
				return false
			}
			if number == 3 {
				c.timeoutMS = uint32(value)
			} else {
				c.credit = uint32(value)
			}
			data = data[m:]
		default:
			return false
		}
	}
	return true
}

// whole returns an envelope as a field of a frame.
func whole(message *pb.Envelope) []byte {
	data, err := proto.Marshal(message)
	if err != nil {
		// Only a text that is not UTF-8 cannot be written; the callers make sure that there is none.
		panic(err)
	}
	return append(protowire.AppendVarint([]byte{0x0a}, uint64(len(data))), data...)
}

// appendHeader writes the header of a reply, a chunk or a part of size bytes.
func appendHeader(out []byte, kind protowire.Number, id uint64, size int) []byte {
	length := 1 + protowire.SizeVarint(id) + 1 + protowire.SizeVarint(uint64(size)) + size
	out = protowire.AppendVarint(append(out, 0x0a), uint64(length))
	out = protowire.AppendVarint(append(out, 0x08), id)
	out = protowire.AppendTag(out, kind, protowire.BytesType)
	return protowire.AppendVarint(out, uint64(size))
}

// callPrefix returns what does not depend on a call's id and payload; it ends with the payload's tag.
func callPrefix(method string, timeoutMS uint32, metadata map[string]string, credit uint32) []byte {
	head, err := proto.Marshal(&pb.LinkCall{Method: method, TimeoutMs: timeoutMS, Metadata: metadata, InitialCredit: credit})
	if err != nil {
		panic(err)
	}
	return append(head, 0x12)
}

func appendCallHeader(out, prefix []byte, id uint64, size int) []byte {
	call := len(prefix) + protowire.SizeVarint(uint64(size)) + size
	length := 1 + protowire.SizeVarint(id) + 1 + protowire.SizeVarint(uint64(call)) + call
	out = protowire.AppendVarint(append(out, 0x0a), uint64(length))
	out = protowire.AppendVarint(append(out, 0x08), id)
	out = protowire.AppendVarint(append(out, 0x12), uint64(call))
	out = append(out, prefix...)
	return protowire.AppendVarint(out, uint64(size))
}
