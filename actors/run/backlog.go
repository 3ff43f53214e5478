package run

import (
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// Backlog keeps what reaches a run that cannot decide it yet, in order. Of what
// a worker says of an attempt again and again only the newest copy waits, in the
// place of the first: while a journal is out of reach nobody acknowledges a
// result, and so it comes every few seconds. The zero value is empty.
type Backlog[T any] struct {
	items  []backlogged[T]
	places map[repeatKey]int // nil while there are few
	bytes  int
}

// backlogged is an item, and what its message counts.
type backlogged[T any] struct {
	item T
	key  repeatKey
	size int
}

// fewWait is how many are searched one by one.
const fewWait = 16

// messageBytes is what a message costs beside its data.
const messageBytes = 256

// repeatKey is the same for copies of what a worker says; zero for all else.
type repeatKey struct {
	kind                  uint8
	attempt               int32
	epoch                 uint64
	step                  string
	workerID, incarnation string
}

func keyOf(message any) repeatKey {
	of := func(kind uint8, m attemptMessage) repeatKey {
		return repeatKey{kind: kind, step: m.GetStep(), attempt: m.GetAttempt()}
	}
	switch m := message.(type) {
	case *messages.Result:
		key := of(1, m)
		key.epoch, key.workerID, key.incarnation = m.Epoch, m.WorkerId, m.Incarnation
		return key
	case *messages.Started:
		return of(2, m)
	case *messages.Queued:
		return of(3, m)
	case *messages.Revoked:
		return of(4, m)
	case *messages.DispatchRefused:
		return of(5, m)
	case *messages.AttemptUnknown:
		return of(6, m)
	case *messages.HandedOff:
		return repeatKey{kind: 7, epoch: m.Epoch}
	case *messages.SuspendAttempt:
		return of(8, m)
	}
	return repeatKey{}
}

// BytesOf is what a message, or an input of a machine, counts in a Backlog; 0
// for what comes from the run's own server.
func BytesOf(message any) int {
	switch m := message.(type) {
	case Appended:
		return 0
	case FromWorker:
		return BytesOf(m.Message)
	case Start:
		return BytesOf(m.Started) + m.Signal.SizeVT()
	case Spawn:
		return BytesOf(m.Message)
	case RecordCall:
		return BytesOf(m.Message)
	case FindCall:
		return BytesOf(m.Message)
	case Signal:
		return BytesOf(m.Message)
	case AwaitCall:
		return BytesOf(m.Message)
	case SendSignal:
		return BytesOf(m.Message)
	case OpenStream:
		return BytesOf(m.Message)
	case EventCame:
		return BytesOf(m.Message)
	case Cancel, Replay, Where:
		return messageBytes
	case interface{ SizeVT() int }:
		return messageBytes + m.SizeVT()
	case proto.Message:
		return messageBytes + proto.Size(m)
	}
	return 0
}

// Len and Bytes are of all that waits.
func (b *Backlog[T]) Len() int   { return len(b.items) }
func (b *Backlog[T]) Bytes() int { return b.bytes }

// Add keeps an item, which is of a message.
func (b *Backlog[T]) Add(item T, message any) {
	if in, ok := message.(FromWorker); ok {
		message = in.Message
	}
	key, size := keyOf(message), BytesOf(message)
	b.bytes += size
	if i, ok := b.find(key); ok {
		b.bytes -= b.items[i].size
		b.items[i].item, b.items[i].size = item, size
		return
	}
	b.items = append(b.items, backlogged[T]{item, key, size})
	if b.places != nil {
		b.places[key] = len(b.items) - 1
	}
}

func (b *Backlog[T]) find(key repeatKey) (int, bool) {
	if key.kind == 0 {
		return 0, false
	}
	if b.places == nil && len(b.items) > fewWait {
		b.places = make(map[repeatKey]int, 2*len(b.items))
		for i := range b.items {
			b.places[b.items[i].key] = i
		}
	}
	if b.places != nil {
		i, ok := b.places[key]
		return i, ok
	}
	for i := range b.items {
		if b.items[i].key == key {
			return i, true
		}
	}
	return 0, false
}

// Take empties the backlog.
func (b *Backlog[T]) Take() []T {
	if len(b.items) == 0 {
		return nil
	}
	items := make([]T, len(b.items))
	for i := range b.items {
		items[i] = b.items[i].item
	}
	*b = Backlog[T]{}
	return items
}
