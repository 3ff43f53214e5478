package local

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// run is a run that has a value here, or runs an attempt.
type run struct {
	id       string
	attempts map[uint64]*Attempt
	private  map[string]*value
	// shared values that the run holds, and under which epoch.
	shared map[*value]uint64
	handed *handed
}

// touch returns the run with an id, made if it is not known.
func (k *Keeper) touch(id string) *run {
	r := k.runs[id]
	if r == nil {
		r = &run{id: id, attempts: map[uint64]*Attempt{}, private: map[string]*value{}, shared: map[*value]uint64{}}
		k.runs[id] = r
	}
	return r
}

// forget lets go of a run with nothing to remember.
func (k *Keeper) forget(r *run) {
	if r.empty() {
		delete(k.runs, r.id)
	}
}

// empty says that there is nothing to remember of the run.
func (r *run) empty() bool {
	return len(r.attempts) == 0 && len(r.private) == 0 && len(r.shared) == 0 && r.handed == nil
}

// RunBytes is what the values that a run has for itself declare.
func (k *Keeper) RunBytes(runID string) (bytes int64) {
	if r := k.runs[runID]; r != nil {
		for _, v := range r.private {
			bytes += v.bytes
		}
	}
	return bytes
}

// hold makes the run of an attempt a holder of a shared value.
func (k *Keeper) hold(v *value, a *Attempt) {
	r := k.touch(a.RunID)
	r.shared[v] = max(r.shared[v], a.Epoch)
	v.holders[r.id] = r
}

// Released says that a run has ended or is not bound here any more: all that it
// has under the epoch and those before.
func (k *Keeper) Released(now time.Time, runID string, epoch uint64, why messages.ReleaseReason) []Action {
	k.begin()
	r := k.runs[runID]
	if r == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.private)) {
		if v := r.private[name]; v.epoch <= epoch {
			k.drop(now, v, why)
		}
	}
	for _, a := range sortedByID(r.attempts) {
		if a.Epoch > epoch {
			continue
		}
		a.over = true
		for _, w := range sortedByID(a.waits) {
			k.fail(w, messages.Errorf(messages.CodeStaleAttempt, "local %q: run %s was released: %s", w.ask.Local, runID, why.Words()))
			k.abandoned(w.value)
		}
	}
	k.letGo(now, r, epoch)
	if r.handed != nil && r.handed.epoch <= epoch {
		r.handed = nil
	}
	k.forget(r)
	return k.end(now)
}

// letGo of the shared values that a run holds under an epoch that is over.
func (k *Keeper) letGo(now time.Time, r *run, epoch uint64) {
	free := map[*value]struct{}{}
	for v, since := range r.shared {
		if since <= epoch {
			delete(r.shared, v)
			delete(v.holders, r.id)
			free[v] = struct{}{}
		}
	}
	for _, v := range sortedValues(free) {
		k.unused(now, v)
	}
}

// loseState drops what an attempt may have used, so that it is built anew: the
// private values of its run, and the shared ones that it got. What is still
// being built, it has not seen.
func (k *Keeper) loseState(now time.Time, a *Attempt) {
	r := k.runs[a.RunID]
	for _, name := range slices.Sorted(maps.Keys(r.private)) {
		if v := r.private[name]; v.epoch <= a.Epoch && v.phase == phaseThere {
			k.drop(now, v, messages.ReleaseReason_RELEASE_REASON_STATE_LOST)
		}
	}
	for _, v := range sortedValues(a.values) {
		if v.shared && !v.dropped {
			k.drop(now, v, messages.ReleaseReason_RELEASE_REASON_STATE_LOST)
		}
	}
}
