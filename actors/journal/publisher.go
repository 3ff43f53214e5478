package journal

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// Publisher gathers the events that are published while a commit of events is in
// flight, and makes them durable in the next one. It is safe for concurrent use.
type Publisher struct {
	store   EventStore
	batcher Batcher[*publishing]
}

// publishing is an event on its way.
type publishing struct {
	event Event
	err   error
	done  chan struct{}
}

// NewPublisher makes one for a store.
func NewPublisher(store EventStore) *Publisher {
	p := &Publisher{store: store}
	p.batcher = Batcher[*publishing]{Background: func(run func()) { go run() }, Store: p.commit}
	return p
}

// Publish returns the event as it is stored once it is durable, and else the store's
// error for it. A commit that fails with JOURNAL_UNAVAILABLE is tried again until ctx
// ends; then it is not known whether the event is stored.
func (p *Publisher) Publish(ctx context.Context, e Event) (Event, error) {
	pauses := backoff.Pauses{First: 10 * time.Millisecond, Most: time.Second}
	for {
		published := &publishing{event: e, done: make(chan struct{})}
		p.batcher.Take(published, 1, int64(len(e.Payload)))
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
