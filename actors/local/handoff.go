package local

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// handed is a hand-off of a run's private values, which is asked for once or
// more often and done once.
type handed struct {
	run   string
	epoch uint64
	// answer is nil while hooks run.
	answer *messages.HandedOff
	faults []string
}

// HandOff asks for the private values of a run that can be handed off. HandedOff
// answers, at once if there is nothing to do or all was done before. A value
// that a function still uses is not handed off: it may change.
func (k *Keeper) HandOff(now time.Time, runID string, epoch uint64) []Action {
	k.begin()
	r := k.touch(runID)
	if h := r.handed; h != nil && h.epoch == epoch {
		if h.answer != nil {
			k.answer(h)
		}
		return k.end(now)
	}
	h := &handed{run: runID, epoch: epoch}
	act := Action{Kind: HandOff, Run: runID, Epoch: epoch}
	for _, name := range slices.Sorted(maps.Keys(r.private)) {
		v := r.private[name]
		switch {
		case !v.handoff || v.epoch != epoch:
		case v.phase != phaseThere:
			h.faults = append(h.faults, fmt.Sprintf("local %q is being built", name))
		case len(v.users) > 0:
			h.faults = append(h.faults, fmt.Sprintf("local %q is used by a step that has not returned", name))
		default:
			v.handing = true
			act.Values = append(act.Values, HandOffValue{v.id, name})
		}
	}
	if len(act.Values) == 0 {
		k.conclude(h, nil)
		if len(h.faults) > 0 {
			r.handed = h
		}
		k.answer(h)
		k.forget(r)
		return k.end(now)
	}
	r.handed = h
	k.handoffs[handoffKey{runID, epoch}] = h
	k.out = append(k.out, act)
	return k.end(now)
}

type handoffKey struct {
	run   string
	epoch uint64
}

// HandOffEnded takes what the hooks gave: states, and what went wrong.
func (k *Keeper) HandOffEnded(now time.Time, runID string, epoch uint64, states []*messages.HandedState, faults []string) []Action {
	k.begin()
	h := k.handoffs[handoffKey{runID, epoch}]
	if h == nil {
		return nil
	}
	delete(k.handoffs, handoffKey{runID, epoch})
	h.faults = append(h.faults, faults...)
	k.conclude(h, states)
	if r := k.runs[runID]; r != nil && r.handed == h {
		k.answer(h)
	}
	return k.end(now)
}

// HandOffReturned says that the hook of a value has returned: it is not read
// any more.
func (k *Keeper) HandOffReturned(now time.Time, id uint64) []Action {
	k.begin()
	if v := k.values[id]; v != nil && v.handing {
		v.handing = false
		k.unused(now, v)
	}
	return k.end(now)
}

// conclude makes the answer of a hand-off: what fits into HandoffBytesMax, and
// what is missing.
func (k *Keeper) conclude(h *handed, states []*messages.HandedState) {
	h.answer = &messages.HandedOff{RunId: h.run, Epoch: h.epoch}
	code, size := messages.CodeStateNotBuilt, 0
	for _, s := range states {
		if size+len(s.Data) > messages.HandoffBytesMax {
			code = messages.CodeLimitExceeded
			h.faults = append(h.faults, fmt.Sprintf("local %q would be handed off as %d bytes, beside %d bytes of others: HandoffBytesMax = %d",
				s.Local, len(s.Data), size, messages.HandoffBytesMax))
			continue
		}
		size += len(s.Data)
		h.answer.States = append(h.answer.States, s)
	}
	if len(h.faults) > 0 {
		h.answer.Failure = messages.ToFailure(messages.Errorf(code, "not handed off: %s", strings.Join(h.faults, "; ")))
	}
}

func (k *Keeper) answer(h *handed) {
	k.out = append(k.out, Action{Kind: HandedOff, Run: h.run, Epoch: h.epoch, Answer: h.answer})
}
