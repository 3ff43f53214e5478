package journal

import "sync"

// Batcher commits together what is stored beside the entries of runs: what arrives while a
// commit is in flight is in the next one. The Committer does not do for this: it keeps
// the order of each run's entries and stores them under the run's epoch, and here there
// is neither. It is safe for concurrent use.
type Batcher[W any] struct {
	// Background runs a function in a goroutine of its own.
	Background func(func())
	// Store makes a batch durable, and answers whoever waits for it.
	Store func([]W)
	// QueueMax bounds the bytes that wait and are in flight; one write alone may have
	// more. Zero is no bound.
	QueueMax int64

	mu      sync.Mutex
	waiting []batched[W]
	// bytes of what waits, and of what is in flight.
	bytes int64
	// storing: a goroutine stores what waits, until nothing does.
	storing bool
}

// batched is a write that waits, with what it adds to a commit.
type batched[W any] struct {
	write W
	rows  int
	bytes int64
}

// batchRowsMax and batchBytesMax bound one commit; one write alone may have more.
const (
	batchRowsMax  = 512
	batchBytesMax = 4 << 20
)

// Take lets a write wait for the next commit. If there is no room for it, it is not
// taken, and full is how many bytes would wait then.
func (b *Batcher[W]) Take(write W, rows int, bytes int64) (full int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 && b.QueueMax > 0 && b.bytes+bytes > b.QueueMax {
		return b.bytes + bytes
	}
	b.bytes += bytes
	b.waiting = append(b.waiting, batched[W]{write, rows, bytes})
	if !b.storing {
		b.storing = true
		b.Background(b.run)
	}
	return 0
}

// run stores what waits, until nothing does.
func (b *Batcher[W]) run() {
	for {
		batch, bytes := b.next()
		if len(batch) == 0 {
			return
		}
		b.Store(batch)
		b.mu.Lock()
		b.bytes -= bytes
		b.mu.Unlock()
	}
}

// next takes what is to be in one commit.
func (b *Batcher[W]) next() (batch []W, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := 0
	for _, w := range b.waiting {
		if len(batch) > 0 && (rows+w.rows > batchRowsMax || bytes+w.bytes > batchBytesMax) {
			break
		}
		rows, bytes = rows+w.rows, bytes+w.bytes
		batch = append(batch, w.write)
	}
	b.waiting = b.waiting[len(batch):]
	if len(batch) == 0 {
		b.waiting, b.storing = nil, false
	}
	return batch, bytes
}
