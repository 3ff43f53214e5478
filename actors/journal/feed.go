package journal

import (
	"sync"
	"sync/atomic"
)

// Listener is told of an entry of a run after it has become durable, on a
// committing goroutine, which it must not block, and in the order of the
// run's entries. row is nil if the entry changed nothing in it. Both are
// shared and must not be changed.
type Listener func(number uint64, entry []byte, row *Row)

// Feed tells listeners what a Committer made durable. It knows nothing of what
// other servers or earlier processes wrote. The zero value is ready.
type Feed struct {
	// runs is the number of runs that are listened to, read without the lock:
	// most of the time there are none.
	runs atomic.Int64
	mu   sync.RWMutex
	// byRun holds slices that are replaced, never changed.
	byRun map[string][]*Listener
}

// Subscribe calls fn for every entry of the run that becomes durable from now
// on. A reader who wants the whole history subscribes first, reads then and
// drops the numbers that come twice. After cancel has returned fn may still be
// called for an entry that became durable before. cancel may be called again.
func (f *Feed) Subscribe(runID string, fn Listener) (cancel func()) {
	key := &fn
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byRun == nil {
		f.byRun = make(map[string][]*Listener)
	}
	old := f.byRun[runID]
	f.byRun[runID] = append(old[:len(old):len(old)], key)
	f.runs.Store(int64(len(f.byRun)))
	return func() { f.unsubscribe(runID, key) }
}

func (f *Feed) unsubscribe(runID string, key *Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.byRun[runID]
	left := make([]*Listener, 0, len(old))
	for _, l := range old {
		if l != key {
			left = append(left, l)
		}
	}
	if len(left) == 0 {
		delete(f.byRun, runID)
	} else {
		f.byRun[runID] = left
	}
	f.runs.Store(int64(len(f.byRun)))
}

func (f *Feed) publish(a *Append) {
	if f.runs.Load() == 0 {
		return
	}
	f.mu.RLock()
	listeners := f.byRun[a.RunID]
	f.mu.RUnlock()
	for _, l := range listeners {
		(*l)(a.Number, a.Entry, a.Row)
	}
}
