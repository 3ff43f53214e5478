package journal

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

const (
	// publishMax and publishBytesMax bound the events of one commit; a larger one
	// goes alone.
	publishMax      = 256
	publishBytesMax = 8 << 20
)

// Publisher gathers the events that are published while a commit of events is in
// flight, and makes them durable in the next one. It is safe for concurrent use.
type Publisher struct {
	store EventStore

	mu      sync.Mutex
	waiting []*publishing
	busy    bool
}

// publishing is an event on its way.
type publishing struct {
	event Event
	err   error
	done  chan struct{}
}

// NewPublisher makes one for a store.
func NewPublisher(store EventStore) *Publisher { return &Publisher{store: store} }

// Publish returns the event as it is stored once it is durable, and else the store's
// error for it. A commit that fails with JOURNAL_UNAVAILABLE is tried again until ctx
// ends; then it is not known whether the event is stored.
func (p *Publisher) Publish(ctx context.Context, e Event) (Event, error) {
	pauses := backoff.Pauses{First: 10 * time.Millisecond, Most: time.Second}
	for {
		published := &publishing{event: e, done: make(chan struct{})}
		p.enqueue(published)
		select {
		case <-published.done:
		case <-ctx.Done():
			return e, messages.Errorf(messages.CodeJournalUnavailable, "event %q: it is not known whether it is stored: %w", e.ID, ctx.Err())
		}
		if messages.CodeOf(published.err) != messages.CodeJournalUnavailable || backoff.Sleep(ctx, pauses.Next()) != nil {
			return published.event, published.err
		}
	}
}

func (p *Publisher) enqueue(e *publishing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, e)
	if !p.busy {
		p.busy = true
		go p.commitAll()
	}
}

// commitAll commits batch after batch until nothing waits.
func (p *Publisher) commitAll() {
	for batch := p.next(); len(batch) > 0; batch = p.next() {
		p.commit(batch)
	}
}

// next takes what is committed together.
func (p *Publisher) next() []*publishing {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for n < len(p.waiting) && n < publishMax && (n == 0 || bytes < publishBytesMax) {
		bytes += len(p.waiting[n].event.Payload)
		n++
	}
	batch := p.waiting[:n:n]
	if p.waiting = p.waiting[n:]; n == 0 {
		p.waiting, p.busy = nil, false
	}
	return batch
}

// commit stores a batch. It is not broken off: nobody in it waits longer than its own
// context.
func (p *Publisher) commit(batch []*publishing) {
	events := make([]Event, len(batch))
	for i, e := range batch {
		events[i] = e.event
	}
	errs := p.store.Publish(context.Background(), events)
	for i, e := range batch {
		e.event, e.err = events[i], errs[i]
		close(e.done)
	}
}
