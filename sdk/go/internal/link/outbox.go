package link

import "slices"

const (
	// smallBytes is the size of a payload of a unary call that is sent whole, in order.
	smallBytes = 16 << 10
	// fragmentBytes is the size of the pieces of a larger one.
	fragmentBytes = 128 << 10
	// frameBytes is the size at which a frame is complete; the last turn may exceed it by two fragments.
	frameBytes = 256 << 10
	// laneBytes of a stream may wait; then its producer waits.
	laneBytes = 256 << 10
	// stalledBytes of streams may wait for credit; beyond that, each stream has room for one message only.
	stalledBytes = 64 << 20
	// reassemblyBytes is the size of incomplete payloads that a peer takes.
	reassemblyBytes = 64 << 20
	// DefaultCredit is how much of a stream a peer may send before more is granted.
	DefaultCredit = 1 << 20
	// highWaterBytes may wait to be sent; then no further calls are made.
	highWaterBytes = 1 << 20
)

// sender has a payload to send: a call or an answer.
type sender interface {
	// header writes the header of a payload, or of its last piece of size bytes.
	header(out []byte, size int) []byte
	// partHeader writes the header of a piece that is not the last.
	partHeader(out []byte, size int) []byte
}

type parcel struct {
	from    sender
	payload []byte
}

// lane has the payloads of one call, in order.
type lane struct {
	queue []parcel
	// offset is how much of the first payload was sent.
	offset int
	// size is the bytes that wait here.
	size int
	// credit is the bytes of a stream that the peer has granted.
	credit   int64
	isStream bool
	// isListed is whether the lane is among those that take turns.
	isListed, isDropped bool
	// begun is the size of the first payload if some of it was sent: the peer has to keep room for it.
	begun int
	// last is control that is sent once the lane is empty.
	last []byte
	// onRoom is called when some of the lane was sent, onEmpty when all of it was and nothing more will be added.
	onRoom, onEmpty func()
}

func (l *lane) ready() bool {
	if l.offset > 0 {
		return true
	}
	if len(l.queue) > 0 {
		return !l.isStream || l.credit > 0
	}
	return l.last != nil
}

func (l *lane) isEmpty() bool { return len(l.queue) == 0 && l.last == nil }

// nextSize returns the size of the next payload if it needs pieces and none was sent; else 0.
func (l *lane) nextSize() int {
	if l.offset > 0 || len(l.queue) == 0 || len(l.queue[0].payload) <= fragmentBytes {
		return 0
	}
	return len(l.queue[0].payload)
}

// takeTurn appends about one fragment to a frame; it returns that, and the bytes.
func (l *lane) takeTurn(frame []byte) ([]byte, int) {
	sent := 0
	for sent < fragmentBytes && l.ready() {
		if len(l.queue) == 0 {
			frame = append(frame, l.last...)
			l.last = nil
			break
		}
		first := l.queue[0]
		left := len(first.payload) - l.offset
		if l.offset == 0 {
			if sent > 0 && len(first.payload) > fragmentBytes {
				// Whether it may begin is checked before each turn.
				break
			}
			l.credit -= int64(len(first.payload))
		}
		if left > fragmentBytes {
			frame = first.from.partHeader(frame, fragmentBytes)
			frame = append(frame, first.payload[l.offset:l.offset+fragmentBytes]...)
			l.offset += fragmentBytes
			l.begun = len(first.payload)
			l.size -= fragmentBytes
			return frame, fragmentBytes
		}
		frame = first.from.header(frame, left)
		frame = append(frame, first.payload[l.offset:]...)
		l.queue[0] = parcel{}
		l.queue = l.queue[1:]
		l.offset, l.begun = 0, 0
		l.size -= left
		sent += left + 16
	}
	return frame, sent
}

// outbox has all that waits for the next frames: control, which goes first; small payloads, in order; and lanes of large
// payloads and streams, which take turns of one fragment each, so that none delays another for longer than that.
type outbox struct {
	control [][]byte
	small   []parcel
	lanes   []*lane
	// size is the bytes of payload that may be sent, controlSize those of control.
	size, controlSize int
	// stalled is the bytes of streams that wait for credit.
	stalled int
	begun   int
	// next is the lane whose payload the peer has no room for yet: no other payload in pieces may begin before it.
	next *lane
}

func (o *outbox) isEmpty() bool { return len(o.control) == 0 && len(o.small) == 0 && len(o.lanes) == 0 }

// waiting returns how many things wait to be sent.
func (o *outbox) waiting() int { return len(o.control) + len(o.small) + len(o.lanes) }

func (o *outbox) addControl(envelope []byte) {
	o.control = append(o.control, envelope)
	o.controlSize += len(envelope)
}

func (o *outbox) addSmall(from sender, payload []byte) {
	o.small = append(o.small, parcel{from, payload})
	o.size += len(payload)
}

func (o *outbox) removeSmall(from sender) {
	for i, one := range o.small {
		if one.from == from {
			o.small = slices.Delete(o.small, i, i+1)
			o.size -= len(one.payload)
			return
		}
	}
}

func (o *outbox) add(l *lane, from sender, payload []byte) {
	l.queue = append(l.queue, parcel{from, payload})
	l.size += len(payload)
	if l.isListed {
		o.size += len(payload)
	} else {
		o.stalled += len(payload)
		o.schedule(l)
	}
}

// hasRoom reports whether a stream may have another message.
func (o *outbox) hasRoom(l *lane) bool {
	return l.isDropped || l.size == 0 || (l.size < laneBytes && o.stalled < stalledBytes)
}

// schedule lets a lane take turns if it has something that may be sent.
func (o *outbox) schedule(l *lane) {
	if !l.isListed && !l.isDropped && l.ready() {
		l.isListed = true
		o.lanes = append(o.lanes, l)
		o.stalled -= l.size
		o.size += l.size
	}
}

// drop drops what waits in a lane.
func (o *outbox) drop(l *lane) {
	if l.isDropped {
		return
	}
	l.isDropped = true
	o.begun -= l.begun
	if o.next == l {
		o.next = nil
	}
	if l.isListed {
		o.lanes = slices.DeleteFunc(o.lanes, func(other *lane) bool { return other == l })
		l.isListed = false
		o.size -= l.size
	} else {
		o.stalled -= l.size
	}
	l.queue, l.last = nil, nil
}

// unsent returns the calls of which nothing was sent.
func (o *outbox) unsent() []*Call {
	var calls []*Call
	keep := func(one parcel) {
		if call, ok := one.from.(*Call); ok && call.id == 0 {
			calls = append(calls, call)
		}
	}
	for _, one := range o.small {
		keep(one)
	}
	for _, l := range o.lanes {
		for _, one := range l.queue {
			keep(one)
		}
	}
	return calls
}

// nextFrame removes and returns the next frame. It may be empty if a lane has to wait for its turn.
func (o *outbox) nextFrame() []byte {
	frame := make([]byte, 0, min(frameBytes+2*fragmentBytes, o.size+o.controlSize+64*(o.waiting()+1)))
	taken := 0
	for _, envelope := range o.control {
		if len(frame) >= frameBytes {
			break
		}
		frame = append(frame, envelope...)
		taken++
	}
	o.controlSize -= len(frame)
	if o.control = o.control[taken:]; len(o.control) > 0 {
		// A call's events come before its answer, and a cancel before the call that takes its place.
		return frame
	}
	o.control = nil
	taken = 0
	for _, one := range o.small {
		if len(frame) >= frameBytes {
			break
		}
		frame = one.from.header(frame, len(one.payload))
		frame = append(frame, one.payload...)
		o.size -= len(one.payload)
		taken++
	}
	if o.small = o.small[taken:]; len(o.small) == 0 {
		o.small = nil
	}
	// The lanes get a turn in each frame, however many payloads are ahead of them.
	for turn := range len(o.lanes) {
		if turn > 0 && len(frame) >= frameBytes {
			break
		}
		frame, _ = o.turn(frame)
	}
	// Streams fill the rest; a large payload of a unary call does not, since it would delay small calls.
	for len(frame) < frameBytes && len(o.lanes) > 0 && o.lanes[0].isStream {
		var sent int
		if frame, sent = o.turn(frame); sent == 0 {
			break
		}
	}
	return frame
}

// turn lets the first lane send about one fragment.
func (o *outbox) turn(frame []byte) ([]byte, int) {
	l := o.lanes[0]
	o.lanes = o.lanes[1:]
	begun, size := l.begun, l.size
	if needed := l.nextSize(); needed > 0 {
		if (o.next != nil && o.next != l) || o.begun+needed > reassemblyBytes {
			if o.next == nil {
				o.next = l
			}
			o.lanes = append(o.lanes, l)
			return frame, 0
		}
		o.next = nil
	}
	frame, sent := l.takeTurn(frame)
	o.begun += l.begun - begun
	o.size -= size - l.size
	if l.ready() {
		o.lanes = append(o.lanes, l)
	} else {
		l.isListed = false
		o.size -= l.size
		o.stalled += l.size
		if l.onEmpty != nil && l.isEmpty() {
			l.onEmpty()
		}
	}
	if l.onRoom != nil {
		l.onRoom()
	}
	return frame, sent
}
