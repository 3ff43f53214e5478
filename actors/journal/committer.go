package journal

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
)

// CommitterConfig configures a Committer; zero fields mean the defaults.
type CommitterConfig struct {
	// MaxBatch is the most appends in one commit. Defaults to 512.
	MaxBatch int
	// MaxBytes is the most bytes of entries in one commit; a single larger
	// entry is committed alone. Defaults to 8 MiB.
	MaxBytes int
	// QueueMax is the most appends that wait for a commit; the first append of
	// a run beyond it is refused with JOURNAL_UNAVAILABLE. Runs that have begun
	// go on: each has but one append that waits, and when a worker goes all of
	// its runs have one. Defaults to 65,536.
	QueueMax int
	// QueueBytesMax is the most bytes of entries that wait for a commit; an
	// append beyond it is refused with JOURNAL_UNAVAILABLE, unless nothing
	// waits. Defaults to 256 MiB.
	QueueBytesMax int
	// InFlight is the most commits under way at one time. Another one begins
	// beside them once a quarter as many appends wait as are in them: a commit
	// has a price of its own, so few large ones cost less than many small ones.
	// Appends of one run are never in two of them. Defaults to what a store with
	// a method Commits asks for, else to 1.
	InFlight int
	// RetryMin and RetryMax bound the wait before a failed commit is tried
	// again; it doubles from one to the other, with jitter. Default to 10 ms
	// and 1 s.
	RetryMin, RetryMax time.Duration
	// Hooks are told what happens; nil ones are not called.
	Hooks CommitterHooks
}

// CommitterHooks are called on the committer's goroutines, Refused on that of
// the caller of Append. They must not block.
type CommitterHooks struct {
	// Committed is called after a commit and its callbacks.
	Committed func(CommitStats)
	// Retrying is called when a commit failed with JOURNAL_UNAVAILABLE and
	// will be tried again after the wait; try counts from 1.
	Retrying func(err error, try int, wait time.Duration)
	// Refused is called when an append is refused because too much waits or
	// the committer is closed.
	Refused func(err error)
}

// CommitStats describes one commit.
type CommitStats struct {
	// Appends in it and the bytes of their entries.
	Appends, Bytes int
	// Refused counts the appends that the store refused.
	Refused int
	// Took is the time from the first try to the answer of the last one.
	Took time.Duration
}

func (c CommitterConfig) withDefaults() CommitterConfig {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.MaxBatch, 512)
	def(&c.MaxBytes, 8<<20)
	def(&c.QueueMax, 1<<16)
	def(&c.QueueBytesMax, 256<<20)
	def(&c.InFlight, 1)
	if c.RetryMin <= 0 {
		c.RetryMin = 10 * time.Millisecond
	}
	if c.RetryMax < c.RetryMin {
		c.RetryMax = max(time.Second, c.RetryMin)
	}
	return c
}

// Committer gathers the appends of all runs of a server while a commit is in
// flight and makes them durable in the next one. All methods may be called
// concurrently.
type Committer struct {
	store  Store
	cfg    CommitterConfig
	stored notify.Topics[string, Stored]

	// ctx ends when Close gives up waiting.
	ctx    context.Context
	cancel context.CancelFunc
	// stopped is closed when every committing goroutine has returned.
	stopped chan struct{}

	mu    sync.Mutex
	wake  sync.Cond
	queue queue
	// committing counts the appends of the commits under way.
	committing int
	closed     bool
	// lost counts the appends that were given up by Close.
	lost int
}

type pending struct {
	append Append
	done   func(error)
}

// NewCommitter starts the committing goroutines; Close ends them. The store is
// not closed with the committer.
func NewCommitter(store Store, cfg CommitterConfig) *Committer {
	if parallel, ok := store.(interface{ Commits() int }); ok && cfg.InFlight <= 0 {
		cfg.InFlight = parallel.Commits()
	}
	c := &Committer{store: store, cfg: cfg.withDefaults(), stopped: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wake.L = &c.mu
	c.queue.exclusive = c.cfg.InFlight > 1
	var running sync.WaitGroup
	for range c.cfg.InFlight {
		running.Go(c.commitLoop)
	}
	go func() {
		running.Wait()
		close(c.stopped)
	}()
	return c
}

// Append queues an append and returns at once. done is called exactly once,
// with nil when the entry is durable and else with the store's error for it:
// on a committing goroutine, which it must not block, and for the appends of
// one run in their order. Entry and Row must not change any more: they are
// shared with the hooks of the run.
//
// A commit that fails with JOURNAL_UNAVAILABLE is tried again until Close
// gives up; whether an earlier try had stored the entry is settled by
// comparing, so done is never told of a conflict of an entry with itself.
//
// An append beyond the limits of the queue or after Close gets
// JOURNAL_UNAVAILABLE, on the caller's goroutine before Append returns;
// nothing was stored.
func (c *Committer) Append(a Append, done func(error)) {
	if err := c.enqueue(pending{a, done}); err != nil {
		if c.cfg.Hooks.Refused != nil {
			c.cfg.Hooks.Refused(err)
		}
		done(err)
	}
}

func (c *Committer) enqueue(p pending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &c.queue
	switch {
	case c.closed:
		return messages.Errorf(messages.CodeJournalUnavailable, "append to run %q: the journal is closed", p.append.RunID)
	case q.count >= c.cfg.QueueMax && p.append.Number == 1:
		return messages.Errorf(messages.CodeJournalUnavailable, "append to run %q: %d appends wait for the journal, the limit is %d", p.append.RunID, q.count, c.cfg.QueueMax)
	case q.count > 0 && q.bytes+len(p.append.Entry) > c.cfg.QueueBytesMax:
		return messages.Errorf(messages.CodeJournalUnavailable, "append to run %q: %d bytes wait for the journal, the limit is %d", p.append.RunID, q.bytes, c.cfg.QueueBytesMax)
	}
	q.push(p)
	if c.worthwhile() {
		c.wake.Signal()
	}
	return nil
}

// Waiting returns how many appends wait for a commit, without those in flight.
func (c *Committer) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.count
}

// Close refuses further appends, commits what waits and stops. When ctx ends
// first, the appends left get JOURNAL_UNAVAILABLE, and so does the caller.
// Further calls wait for the same.
func (c *Committer) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.wake.Broadcast()
	c.mu.Unlock()
	select {
	case <-c.stopped:
	case <-ctx.Done():
		c.cancel()
		<-c.stopped
	}
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost > 0 {
		return messages.Errorf(messages.CodeJournalUnavailable, "journal closed with %d appends not known to be stored", c.lost)
	}
	return nil
}

// commitLoop commits batch after batch until the committer is closed and
// nothing waits.
func (c *Committer) commitLoop() {
	b := &batch{}
	for c.next(b) {
		c.commit(b)
		for i := range b.appends {
			a := &b.appends[i]
			b.dones[i](b.errs[i])
			if b.errs[i] == nil {
				c.stored.Call(a.RunID, Stored{a.Number, a.Entry, a.Row})
			}
		}
		if c.cfg.Hooks.Committed != nil {
			c.cfg.Hooks.Committed(b.stats())
		}
		c.release(b)
	}
}

// next waits for appends and takes them; false means that none will come.
func (c *Committer) next(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.worthwhile() {
			c.queue.take(b, c.cfg.MaxBatch, c.cfg.MaxBytes)
		}
		if n := len(b.appends); n > 0 {
			c.committing += n
			return true
		}
		if c.closed && c.queue.count == 0 {
			return false
		}
		c.wake.Wait()
	}
}

// worthwhile says that enough waits for one more commit.
func (c *Committer) worthwhile() bool {
	return c.queue.count > 0 && c.queue.count >= min(c.committing/4, c.cfg.MaxBatch)
}

func (c *Committer) release(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committing -= len(b.appends)
	c.lost += b.lost
	c.queue.release(b)
	b.reset()
	if c.queue.exclusive {
		// What waited for these runs may now be taken, and the others may have
		// been waiting to end.
		c.wake.Broadcast()
	}
}

// commit fills b.errs. It returns when every element is settled or the
// committer gave up.
func (c *Committer) commit(b *batch) {
	start := time.Now()
	defer func() { b.took = time.Since(start) }()
	errs := c.store.Append(c.ctx, b.appends)
	b.errs = append(b.errs[:0], errs...)
	again := b.unsettled(b.again[:0])
	pauses := backoff.Pauses{First: c.cfg.RetryMin, Most: c.cfg.RetryMax}
	for try := 1; len(again) > 0; try++ {
		if !c.backOff(b.errs[again[0]], try, pauses.Next()) {
			b.lost = len(again)
			return
		}
		b.retry = b.retry[:0]
		for _, i := range again {
			b.retry = append(b.retry, b.appends[i])
		}
		errs = c.store.Append(c.ctx, b.retry)
		for k, i := range again {
			b.errs[i] = errs[k]
			if messages.CodeOf(errs[k]) == messages.CodeJournalConflict {
				b.errs[i] = c.settle(&b.appends[i], errs[k])
			}
		}
		b.again = again
		again = b.unsettled(again[:0])
	}
}

// settle decides about a conflict of an append that an earlier try may have
// stored: it is stored if its very bytes are.
func (c *Committer) settle(a *Append, conflict error) error {
	stored, err := c.store.Entry(c.ctx, a.RunID, a.Number)
	switch {
	case messages.CodeOf(err) == messages.CodeUnknownRun:
		return conflict
	case err != nil:
		return messages.Errorf(messages.CodeJournalUnavailable, "run %q, entry %d: find out whether it was stored: %w", a.RunID, a.Number, err)
	case string(stored) == string(a.Entry):
		return nil
	}
	return conflict
}

// backOff waits before a further try; false means that there is to be none.
func (c *Committer) backOff(err error, try int, wait time.Duration) bool {
	if c.ctx.Err() != nil {
		return false
	}
	if c.cfg.Hooks.Retrying != nil {
		c.cfg.Hooks.Retrying(err, try, wait)
	}
	return backoff.Sleep(c.ctx, wait) == nil
}
