package run

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Rebuilds: a step that needs local state is sent only once those of its
// ancestors that build it have worked under the epoch of its binding.
//
//   - Builders that worked under an earlier epoch are executed again first, each
//     after the builders among its own ancestors.
//   - What they return is dropped. The recorded results stay, and so does
//     everything that followed from them.
//   - A rebuild has the retries and the timeouts of its step, anew each time.
//   - A rebuild that fails for good fails the steps that wait for it, not its own
//     step, which has succeeded.
//   - Builders are not run again if their state moved with the run: see
//     takeHanded.

// Rebuild is the execution of a step that had succeeded for its local state.
type Rebuild struct {
	// ForStep needs the state; Reason says why it is not there.
	ForStep string
	Reason  messages.Reason
	// Epoch under which the rebuild began; its attempts may be under later ones.
	Epoch uint64
	// StartedAt, and what was charged, are of the recorded result.
	StartedAt             time.Time
	readyAt, dispatchedAt time.Time
	failures, lost        int32
	failure               *messages.Failure
}

// HasSucceeded says that the step has a recorded output, which holds while the
// step is rebuilt.
func (st *Step) HasSucceeded() bool { return st.Phase == Succeeded || st.Rebuild != nil }

// stepSet is a set of steps by their index; nil is empty.
type stepSet []uint64

func (set stepSet) each(do func(i int)) {
	for word, rest := range set {
		for ; rest != 0; rest &= rest - 1 {
			do(word*64 + bits.TrailingZeros64(rest))
		}
	}
}

func (set stepSet) has(i int) bool { return len(set) > 0 && set[i/64]&(1<<(i%64)) != 0 }

// findBuilders notes for each step which of its ancestors build state.
func (s *State) findBuilders() {
	any := false
	for i := range s.Steps {
		any = any || s.Steps[i].Def.BuildsState
	}
	if !any || !s.isSticky() {
		return
	}
	s.builders = make([]stepSet, len(s.Steps))
	for i := range s.Steps {
		s.buildersOf(i)
	}
}

func (s *State) buildersOf(i int) stepSet {
	if s.builders[i] != nil {
		return s.builders[i]
	}
	set := make(stepSet, (len(s.Steps)+63)/64)
	s.builders[i] = set
	for _, p := range s.Steps[i].parents {
		for word, more := range s.buildersOf(p) {
			set[word] |= more
		}
		if s.Steps[p].Def.BuildsState {
			set[p/64] |= 1 << (p % 64)
		}
	}
	return set
}

// needsState says that what builds state has to be there before the step.
func (st *Step) needsState() bool {
	return st.Def.NeedsState || st.wantsState || st.Rebuild != nil
}

// missing returns the builders whose state a step needs and that have not worked
// under the newest epoch.
func (s *State) missing(i int) []int {
	if s.builders == nil || !s.Steps[i].needsState() {
		return nil
	}
	var list []int
	s.builders[i].each(func(b int) {
		if s.Steps[b].BuiltEpoch != s.Epoch {
			list = append(list, b)
		}
	})
	return list
}

// ---- folding -------------------------------------------------------------------

func (st *Step) beginRebuild(k *messages.RebuildBegan, at time.Time) {
	st.Rebuild = &Rebuild{ForStep: k.ForStep, Reason: k.Reason, Epoch: k.Epoch,
		StartedAt: st.StartedAt, readyAt: st.ReadyAt, dispatchedAt: st.DispatchedAt,
		failures: st.Failures, lost: st.Lost, failure: st.Failure}
	st.Phase, st.ReadyAt, st.Failures, st.Lost = Ready, at, 0, 0
}

// endRebuild puts the recorded result back in its place.
func (st *Step) endRebuild() {
	r := st.Rebuild
	st.Rebuild, st.Phase = nil, Succeeded
	st.StartedAt, st.ReadyAt, st.DispatchedAt = r.StartedAt, r.readyAt, r.dispatchedAt
	st.Failures, st.Lost, st.Failure = r.failures, r.lost, r.failure
}

// built notes that the state which the step builds is there.
func (st *Step) built() {
	st.BuiltEpoch = st.Epoch
	if st.spoilt {
		st.BuiltEpoch = 0
	}
}

// loseState folds that a step found state gone: its worker has dropped all that
// the run had there.
func (s *State) loseState(st *Step) {
	st.wantsState = true
	s.StateLost, s.Handed = true, nil
	for i := range s.Steps {
		s.Steps[i].BuiltEpoch = 0
		s.Steps[i].spoilt = s.Steps[i].Phase == Live
	}
}

// awaited lets the schedule timeouts of the steps that waited for a rebuild begin.
func (s *State) awaited(built *Step, at time.Time) {
	b, _ := s.stepAt(built.Def.Name)
	for i := range s.builders {
		if st := &s.Steps[i]; st.Phase == Ready && s.builders[i].has(b) && st.needsState() && at.After(st.ReadyAt) {
			st.ReadyAt = at
		}
	}
}

// ---- deciding ------------------------------------------------------------------

// beginRebuilds sends what builds the state that ready steps miss, as far as
// the builders' own ancestors allow.
func (m *Machine) beginRebuilds() {
	if m.s.builders == nil {
		return
	}
	for i := range m.s.Steps {
		if !m.ready(&m.s.Steps[i]) {
			continue
		}
		for _, b := range m.s.missing(i) {
			m.beginRebuild(b, i)
		}
	}
}

func (m *Machine) beginRebuild(b, forStep int) {
	st := &m.s.Steps[b]
	if st.Phase != Succeeded {
		return
	}
	first := true
	m.s.builders[b].each(func(before int) {
		first = first && m.s.Steps[before].BuiltEpoch == m.s.Epoch
	})
	if !first {
		return
	}
	reason := m.s.Binding.Reason
	if st.BuiltEpoch == 0 {
		reason = messages.Reason_REASON_STATE_LOST
	}
	m.emit(&messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{
		Step: st.Def.Name, Epoch: m.s.Epoch, ForStep: m.s.Steps[forStep].Def.Name, Reason: reason}}})
}

// AwaitsRebuild says that a step which could be sent waits for a rebuild, and
// for which.
func (s *State) AwaitsRebuild(step string) (*Step, bool) {
	i, _ := s.stepAt(step)
	return s.awaitsRebuild(i)
}

func (s *State) awaitsRebuild(i int) (*Step, bool) {
	if s.builders == nil || s.Steps[i].Phase != Ready && s.Steps[i].Phase != Backoff {
		return nil, false
	}
	for _, b := range s.missing(i) {
		if st := &s.Steps[b]; st.Rebuild != nil {
			return st, true
		}
	}
	return nil, false
}

// stateLost records that a step found the local state gone that it needs. The
// worker has dropped the rest of it; what builds it is run again first.
func (m *Machine) stateLost(i int, f *messages.Failure) {
	st := &m.s.Steps[i]
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{
		Step: st.Def.Name, Attempt: st.Attempt, Reason: messages.Reason_REASON_STATE_LOST, Started: true, Text: f.Message}}})
	if most := st.Def.LossesMax(); int(st.Lost) >= most {
		m.failStep(st, messages.ToFailure(messages.Errorf(messages.CodeStateLost,
			"attempts of it were lost %d times, the limit lostAttemptsMax is %d; last it found its local state gone: %s", st.Lost, most, f.Message)))
	}
}

// failRebuild ends a rebuild that failed for good: its step has succeeded all
// the same, and what waits for it fails.
func (m *Machine) failRebuild(st *Step, f *messages.Failure) {
	b, _ := m.s.stepAt(st.Def.Name)
	m.emit(&messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: st.Def.Name,
		Failure: restated(f, fmt.Sprintf("rebuild for step %q", st.Rebuild.ForStep))}}})
	for i := range m.s.Steps {
		waits := &m.s.Steps[i]
		if (waits.Phase == Ready || waits.Phase == Backoff) && m.s.builders[i].has(b) && waits.needsState() {
			m.failStep(waits, restated(f, fmt.Sprintf("the local state that it needs could not be rebuilt by step %q", st.Def.Name)))
		}
	}
	for i := range m.s.Steps {
		if idle := &m.s.Steps[i]; idle.Rebuild != nil && idle.Phase != Live && !m.wanted(i) {
			m.emit(&messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{
				Step: idle.Def.Name, Reason: messages.Reason_REASON_REBUILD_UNWANTED, ForStep: idle.Rebuild.ForStep}}})
		}
	}
}

func restated(f *messages.Failure, prefix string) *messages.Failure {
	return &messages.Failure{Code: f.Code, Message: prefix + ": " + f.Message, Stack: f.Stack, Final: f.Final}
}

// wanted says that a step waits for the rebuild of another one.
func (m *Machine) wanted(b int) bool {
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; (st.Phase == Ready || st.Phase == Backoff) && m.s.builders[i].has(b) && st.needsState() {
			return true
		}
	}
	return false
}
