package remote

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

const (
	// A batch ends with the message that reaches one of the two.
	batchMessagesMax = 200
	batchBytesMax    = 4 << 20
	// outboxKept is how many messages an outbox has room for while it is empty.
	outboxKept = 64
	// outgoingBytes is what a queued message costs beside its data.
	outgoingBytes = 128
)

// outbox is what waits for one peer, and who watches actors behind it. Its methods
// call nobody, so its lock is always the innermost.
type outbox struct {
	// signal has something when there may be something to take.
	signal chan struct{}

	mu    sync.Mutex
	queue []outgoing
	// taken is the last batch if the queue ended with it: room for what comes next.
	taken     []outgoing
	bytes     int
	finishing bool
	closed    bool
	// name of the process at the other end, and what it is, once it is known.
	name string
	role identity.Role
	// watches by the id of the watcher and of the watched.
	watches map[watching]*actor.PID
}

type watching struct{ watcher, watchee string }

// outgoing is a message on its way.
type outgoing struct {
	data           []byte
	typeName       string
	target, sender *actor.PID
	header         map[string]string
}

// queueing is what became of a message that was to be queued.
type queueing uint8

const (
	queued queueing = iota
	// full: the queue is; the message is dropped.
	full
	// ended: the peer has.
	ended
)

func newOutbox() outbox {
	return outbox{signal: make(chan struct{}, 1), watches: map[watching]*actor.PID{}}
}

func (b *outbox) put(o outgoing) queueing {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return ended
	case b.bytes >= messages.PeerQueueBytesMax:
		return full
	}
	b.queue = append(b.queue, o)
	b.bytes += len(o.data) + outgoingBytes
	return queued
}

// waiting is how much waits to be taken, in bytes.
func (b *outbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

func (b *outbox) wake() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// take returns the next batch, which is the caller's until it takes again; last says
// that none will follow an empty one.
func (b *outbox) take() (batch []outgoing, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, bytes := 0, 0
	for n < len(b.queue) && n < batchMessagesMax && bytes < batchBytesMax {
		bytes += len(b.queue[n].data)
		n++
	}
	clear(b.taken)
	if n == 0 {
		return nil, b.finishing
	}
	batch, b.queue = b.queue[:n], b.queue[n:]
	b.bytes -= bytes + n*outgoingBytes
	b.taken = b.taken[:0]
	if len(b.queue) == 0 {
		if b.queue, b.taken = b.taken, nil; cap(batch) <= outboxKept {
			b.taken = batch
		}
	}
	return batch, b.finishing
}

// finish lets the peer end once its queue is empty.
func (b *outbox) finish() {
	b.mu.Lock()
	b.finishing = true
	b.mu.Unlock()
	b.wake()
}

// close has nothing taken in any more.
func (b *outbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// empty closes and returns what is left.
func (b *outbox) empty() (queue []outgoing, watches map[watching]*actor.PID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue, watches = b.queue, b.watches
	b.closed, b.queue, b.watches = true, nil, nil
	return queue, watches
}

func (b *outbox) named(name string, role identity.Role) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name, b.role = name, role
}

// process is at the other end, as it has proved.
func (b *outbox) process() (name string, role identity.Role) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name, b.role
}

func (b *outbox) processName() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name
}

// watch returns false if the peer has ended.
func (b *outbox) watch(watcher string, watchee *actor.PID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.watches[watching{watcher, watchee.Id}] = watchee
	return true
}

// unwatch says whether there was a watch.
func (b *outbox) unwatch(watcher string, watchee *actor.PID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := watching{watcher, watchee.Id}
	_, ok := b.watches[key]
	delete(b.watches, key)
	return ok
}
