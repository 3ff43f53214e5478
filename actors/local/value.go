package local

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

type phase uint8

const (
	phaseQueued    phase = iota + 1 // shared: waits for room
	phaseBuilding                   // Bind runs
	phaseThere                      // may be used
	phaseReleasing                  // Release runs
)

// value is a value from the first question for it until its release has ended.
type value struct {
	id     uint64
	local  string
	shared bool
	key    string // of a shared one
	run    string // of a private one, and epoch
	epoch  uint64
	// handoff: it can be handed off.
	handoff bool

	phase phase
	// dropped, because of why: nobody may ask for it any more.
	dropped bool
	why     messages.ReleaseReason
	// canceled: the context of its build has ended.
	canceled bool
	waits    map[uint64]*wait
	// users are the functions that got it and have not returned.
	users map[uint64]struct{}
	// holders of a shared value are runs that are bound here.
	holders map[string]*run
	// handing: a hook reads it.
	handing   bool
	bytes     int64
	idleSince time.Time
	isIdle    bool

	counted counted
}

// counted is what a value adds to the use of its kind.
type counted struct{ values, inUse, bytes int64 }

// make makes a value that is neither in a table nor built yet.
func (k *Keeper) make(w *wait, shared bool) *value {
	k.lastID++
	v := &value{
		id: k.lastID, local: w.ask.Local, shared: shared, handoff: w.ask.Handoff, phase: phaseQueued,
		waits: map[uint64]*wait{}, users: map[uint64]struct{}{}, holders: map[string]*run{},
	}
	k.values[v.id] = v
	return v
}

// build begins, or begins anew, to build a value.
func (k *Keeper) build(v *value, ask uint64) {
	v.phase = phaseBuilding
	k.changed = k.changed || v.shared
	k.out = append(k.out, Action{Kind: Build, Value: v.id, Ask: ask})
}

// abandoned: a question for a value was withdrawn. What nobody waits for is
// not built on.
func (k *Keeper) abandoned(v *value) {
	if len(v.waits) > 0 {
		return
	}
	switch {
	case v.phase == phaseQueued:
		k.unlink(v)
		k.gone(v)
	case v.phase == phaseBuilding:
		k.cancel(v, messages.Errorf(messages.CodeCanceled, "local %q: nobody waits for it any more", v.local))
	}
}

func (k *Keeper) cancel(v *value, cause error) {
	if !v.canceled {
		v.canceled = true
		k.out = append(k.out, Action{Kind: CancelBuild, Value: v.id, Err: cause})
	}
}

// drop lets nobody ask for a value any more, and releases it as soon as nobody
// uses it.
func (k *Keeper) drop(now time.Time, v *value, why messages.ReleaseReason) {
	k.unlink(v)
	v.dropped, v.why = true, why
	for _, w := range sortedByID(v.waits) {
		k.fail(w, k.droppedError(v))
	}
	switch v.phase {
	case phaseQueued:
		k.gone(v)
	case phaseBuilding:
		k.cancel(v, messages.Errorf(messages.CodeCanceled, "local %q is not needed any more: %s", v.local, why.Words()))
	case phaseThere:
		k.unused(now, v)
	}
}

func (k *Keeper) droppedError(v *value) error {
	if v.why == messages.ReleaseReason_RELEASE_REASON_WORKER_STOPPING {
		return k.stoppedError(v.local)
	}
	return messages.Errorf(messages.CodeStaleAttempt, "local %q was released while it was built: %s", v.local, v.why.Words())
}

func (k *Keeper) stoppedError(local string) error {
	return messages.Errorf(messages.CodeUnavailable, "local %q: worker %q stops", local, k.cfg.WorkerID)
}

// unlink takes a value out of the tables that questions are answered from, and
// from the runs that hold it.
func (k *Keeper) unlink(v *value) {
	k.busy(v)
	if !v.shared {
		if r := k.runs[v.run]; r != nil && r.private[v.local] == v {
			delete(r.private, v.local)
			k.forget(r)
		}
		return
	}
	if key := (sharedKey{v.local, v.key}); k.shared[key] == v {
		delete(k.shared, key)
		k.changed = true
	}
	k.queue = slices.DeleteFunc(k.queue, func(q *value) bool { return q == v })
	for _, r := range v.holders {
		delete(r.shared, v)
		k.forget(r)
	}
	clear(v.holders)
}

// used says that a function has the value, or that a hook reads it.
func (v *value) used() bool { return len(v.users) > 0 || v.handing }

// unused releases a dropped value once nobody uses it, and lets a shared one be
// idle.
func (k *Keeper) unused(now time.Time, v *value) {
	defer k.count(v)
	if v.phase != phaseThere || v.used() {
		return
	}
	if v.dropped {
		k.release(v)
		return
	}
	if v.shared && len(v.holders) == 0 && !v.isIdle {
		v.isIdle, v.idleSince = true, now
		k.idle = append(k.idle, v)
	}
}

// busy takes a value from those that nobody uses.
func (k *Keeper) busy(v *value) {
	if v.isIdle {
		v.isIdle = false
		k.idle = slices.DeleteFunc(k.idle, func(i *value) bool { return i == v })
	}
}

// release has a dropped value released.
func (k *Keeper) release(v *value) {
	v.phase = phaseReleasing
	if v.shared {
		k.bytes -= v.bytes
		k.releasing++
		k.releasingBytes += v.bytes
	}
	k.use(v).Releases++
	k.out = append(k.out, Action{Kind: Release, Value: v.id, Why: v.why})
	k.count(v)
}

// gone forgets a value that is nothing any more.
func (k *Keeper) gone(v *value) {
	if v.shared {
		switch v.phase {
		case phaseReleasing:
			k.sharedCount--
			k.releasing--
			k.releasingBytes -= v.bytes
		case phaseBuilding:
			k.sharedCount--
		}
	}
	delete(k.values, v.id)
	v.phase = 0
	k.count(v)
}

func sortedByID[M ~map[uint64]V, V any](m M) []V {
	out := make([]V, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[id])
	}
	return out
}

func sortedValues(m map[*value]struct{}) []*value {
	return slices.SortedFunc(maps.Keys(m), func(a, b *value) int { return cmp.Compare(a.id, b.id) })
}

// firstWait is the oldest question for a value.
func firstWait(v *value) *wait { return v.waits[slices.Min(slices.Collect(maps.Keys(v.waits)))] }
