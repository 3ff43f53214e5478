package journal

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// queue holds the appends that wait for a commit. Its owner holds a lock.
type queue struct {
	// items[head:] wait, in the order of arrival.
	items []pending
	head  int
	// count and bytes are of all that wait, wherever.
	count, bytes int

	// exclusive keeps the appends of one run out of two batches at a time; it
	// is needed only when there can be two.
	exclusive bool
	// held has a key for each run of a batch in flight, and as its value what
	// must wait for that batch.
	held map[string][]pending
	// freed waited for a batch that has ended. It goes before items.
	freed []pending
}

// itemsKept is the room that an empty queue keeps.
const itemsKept = 4096

func (q *queue) push(p pending) {
	q.items = append(q.items, p)
	q.count++
	q.bytes += len(p.append.Entry)
}

// take moves what may be committed next into b.
func (q *queue) take(b *batch, maxAppends, maxBytes int) {
	n := 0
	for n < len(q.freed) && b.hasRoom(&q.freed[n], maxAppends, maxBytes) {
		q.place(b, q.freed[n])
		n++
	}
	if n > 0 {
		left := copy(q.freed, q.freed[n:])
		clear(q.freed[left:])
		q.freed = q.freed[:left]
	}
	for len(q.freed) == 0 && q.head < len(q.items) && b.hasRoom(&q.items[q.head], maxAppends, maxBytes) {
		q.place(b, q.items[q.head])
		q.items[q.head] = pending{}
		q.head++
	}
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > itemsKept {
			q.items = nil
		}
	case q.head > len(q.items)/2:
		left := copy(q.items, q.items[q.head:])
		clear(q.items[left:])
		q.items, q.head = q.items[:left], 0
	}
	if q.exclusive {
		q.hold(b)
	}
}

// place puts p into the batch, or aside if its run is in flight elsewhere.
func (q *queue) place(b *batch, p pending) {
	if q.exclusive {
		if waiting, busy := q.held[p.append.RunID]; busy {
			q.held[p.append.RunID] = append(waiting, p)
			return
		}
	}
	q.count--
	q.bytes -= len(p.append.Entry)
	b.add(p)
}

func (q *queue) hold(b *batch) {
	if q.held == nil {
		q.held = make(map[string][]pending)
	}
	for i := range b.appends {
		q.held[b.appends[i].RunID] = nil
	}
}

// release says that a batch has ended.
func (q *queue) release(b *batch) {
	if !q.exclusive {
		return
	}
	for i := range b.appends {
		id := b.appends[i].RunID
		q.freed = append(q.freed, q.held[id]...)
		delete(q.held, id)
	}
}

// batch is what one commit carries. Its slices are used again.
type batch struct {
	appends []Append
	dones   []func(error)
	errs    []error
	bytes   int
	took    time.Duration
	// lost counts the elements that were given up.
	lost int
	// again and retry are the indices of what is tried again, and copies of
	// these elements.
	again []int
	retry []Append
}

func (b *batch) hasRoom(p *pending, maxAppends, maxBytes int) bool {
	return len(b.appends) == 0 ||
		len(b.appends) < maxAppends && b.bytes+len(p.append.Entry) <= maxBytes
}

func (b *batch) add(p pending) {
	b.appends = append(b.appends, p.append)
	b.dones = append(b.dones, p.done)
	b.bytes += len(p.append.Entry)
}

// unsettled adds the indices of the elements to be tried again: those that the
// store was unavailable for, and the conflicts of the same runs after them.
func (b *batch) unsettled(again []int) []int {
	var runs map[string]bool
	for i, err := range b.errs {
		if err == nil {
			continue
		}
		code, id := messages.CodeOf(err), b.appends[i].RunID
		switch {
		case code == messages.CodeJournalUnavailable:
			if runs == nil {
				runs = make(map[string]bool)
			}
			runs[id] = true
			again = append(again, i)
		case code == messages.CodeJournalConflict && runs[id]:
			again = append(again, i)
		}
	}
	return again
}

func (b *batch) stats() CommitStats {
	s := CommitStats{Appends: len(b.appends), Bytes: b.bytes, Took: b.took}
	for _, err := range b.errs {
		if err != nil {
			s.Refused++
		}
	}
	return s
}

func (b *batch) reset() {
	clear(b.appends)
	clear(b.dones)
	clear(b.errs)
	clear(b.retry)
	*b = batch{
		appends: b.appends[:0], dones: b.dones[:0], errs: b.errs[:0],
		again: b.again[:0], retry: b.retry[:0],
	}
}
