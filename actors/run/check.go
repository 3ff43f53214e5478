package run

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// invariants are those of the package doc that the state alone shows. Each is
// checked for each step, in this order; I5 for the run.
var invariants = []func(*State, *Step) error{
	(*State).checkI8, (*State).checkI7, (*State).checkI6, (*State).checkI3, (*State).checkI15, (*State).checkI16, (*State).checkI17,
}

// Check returns the first invariant of the package doc that the state breaks.
// Those that concern transitions are CheckTransition's.
func (s *State) Check() error {
	for i := range s.Steps {
		for _, check := range invariants {
			if err := check(s, &s.Steps[i]); err != nil {
				return err
			}
		}
	}
	for i := range s.Streams {
		if err := s.checkI19(&s.Streams[i]); err != nil {
			return err
		}
	}
	if s.Binding.Worker != nil && s.Binding.Epoch != s.Epoch {
		return fmt.Errorf("I5: binding of epoch %d, newest is %d", s.Binding.Epoch, s.Epoch)
	}
	return nil
}

// checkI3: a live attempt of a sticky run is on the worker of the binding, so
// that all are on one worker.
func (s *State) checkI3(st *Step) error {
	if st.Phase != Live || !s.isSticky() {
		return nil
	}
	if s.Binding.Worker == nil || st.Epoch != s.Binding.Epoch || !sameProcess(st.Worker, s.Binding.Worker) {
		return fmt.Errorf("I3: live attempt %s#%d of epoch %d is not under the binding of epoch %d", st.Def.Name, st.Attempt, st.Epoch, s.Binding.Epoch)
	}
	return nil
}

// checkI19: who may write to a stream is live.
func (s *State) checkI19(of *Stream) error {
	if st := s.Step(of.Step); of.Open && (st == nil || st.Phase != Live || st.Attempt != of.Attempt) {
		return fmt.Errorf("I19: section %d of stream %q is open, attempt %s#%d is not live", of.Section, of.Name, of.Step, of.Attempt)
	}
	return nil
}

// checkI15: what is suspended waits.
func (s *State) checkI15(st *Step) error {
	if st.Phase == Suspended && st.waitsHash() == 0 {
		return fmt.Errorf("I15: attempt %s#%d is suspended, and waits for nothing", st.Def.Name, st.Attempt)
	}
	return nil
}

// checkI16: the end step follows all others, and the outcome that they have made.
func (s *State) checkI16(st *Step) error {
	switch {
	case st.isEnd() && s.Ending == nil && st.Phase != Waiting && !st.Phase.Ended():
		return fmt.Errorf("I16: end step %q is %s, and no outcome is decided", st.Def.Name, st.Phase)
	case !st.isEnd() && s.Ending != nil && !st.Phase.Ended():
		return fmt.Errorf("I16: the outcome is decided, step %q is %s", st.Def.Name, st.Phase)
	}
	return nil
}

// checkI6: a live step has parents that have all succeeded.
func (s *State) checkI6(st *Step) error {
	if st.Phase != Live {
		return nil
	}
	for _, p := range st.parents {
		if !s.Steps[p].HasSucceeded() {
			return fmt.Errorf("I6: step %q is live, parent %q is %s", st.Def.Name, s.Steps[p].Def.Name, s.Steps[p].Phase)
		}
	}
	return nil
}

// checkI7: the steps of a run that has ended have ended.
func (s *State) checkI7(st *Step) error {
	if s.Ended() && !st.Phase.Ended() {
		return fmt.Errorf("I7: run ended, step %q is %s", st.Def.Name, st.Phase)
	}
	return nil
}

// checkI8: no more is charged than the retries allow.
func (s *State) checkI8(st *Step) error {
	if st.Failures > st.Def.Retries+1 {
		return fmt.Errorf("I8: step %q charged %d failures, retries are %d", st.Def.Name, st.Failures, st.Def.Retries)
	}
	return nil
}

// transition is what one event made of a run.
type transition struct {
	before, after *State
	// replayed: all may be changed; by the next link of a chain if continued.
	replayed, continued bool
}

// checkI13: a mailbox loses its oldest message of a name, and to a call.
func (t transition) checkI13() error {
	for name, from := range t.before.mailbox {
		to := t.after.mailbox[name]
		switch {
		case len(to) >= len(from):
			from, to = to[:len(from)], from
		case len(to) == len(from)-1:
			from = from[1:]
		default:
			return fmt.Errorf("I13: %d messages %q, then %d", len(from), name, len(to))
		}
		if !slices.Equal(from, to) {
			return fmt.Errorf("I13: messages %q are in another order", name)
		}
	}
	return nil
}

// stepTransition is what one event made of a step.
type stepTransition struct {
	transition
	from, to *Step
}

// sent says that the event sent a new attempt of the step.
func (t stepTransition) sent() bool { return t.to.Attempt != t.from.Attempt }

var (
	transitionInvariants = []func(transition) error{transition.checkI1, transition.checkI11, transition.checkI4, transition.checkI5, transition.checkI13, transition.checkI16, transition.checkI18, transition.checkI19}
	stepInvariants       = []func(stepTransition) error{
		stepTransition.checkI2, stepTransition.checkI1, stepTransition.checkI9, stepTransition.checkI6, stepTransition.checkI11, stepTransition.checkI10,
		stepTransition.checkI12, stepTransition.checkI14, stepTransition.checkI15, stepTransition.checkI17,
	}
)

// CheckTransition returns the first invariant that is broken by what one event
// made of a state.
func CheckTransition(before, after *State) error {
	t := transition{before, after, after.Generation != before.Generation, after.Continued != before.Continued}
	for _, check := range transitionInvariants {
		if err := check(t); err != nil {
			return err
		}
	}
	for i := range after.Steps {
		step := stepTransition{t, &before.Steps[i], &after.Steps[i]}
		for _, check := range stepInvariants {
			if err := check(step); err != nil {
				return fmt.Errorf("%w: step %q", err, step.to.Def.Name)
			}
		}
	}
	return nil
}

// checkI1: only a replay changes a run that has ended.
func (t transition) checkI1() error {
	before, after := t.before, t.after
	switch {
	case !before.Ended() && t.replayed && !t.continued:
		return fmt.Errorf("I1: replayed while it runs")
	case !before.Ended() || t.replayed:
	case after.Status != before.Status || !after.FinishedAt.Equal(before.FinishedAt) || after.Epoch != before.Epoch:
		return fmt.Errorf("I1: the run had ended %s, now it is %s, epoch %d", before.Status, after.Status, after.Epoch)
	}
	return nil
}

// checkI4: only a replay changes the worker id of a HARD run.
func (t transition) checkI4() error {
	from, to := t.before.Binding.Worker, t.after.Binding.Worker
	if t.before.hard() && !t.replayed && from != nil && from.WorkerId != to.GetWorkerId() {
		return fmt.Errorf("I4: HARD run bound to worker %q, then to %q", from.WorkerId, to.GetWorkerId())
	}
	return nil
}

// checkI5: epochs grow by one, and one epoch has one process.
func (t transition) checkI5() error {
	before, after := t.before, t.after
	from, to := before.Binding.Worker, after.Binding.Worker
	switch {
	case after.Epoch != before.Epoch && after.Epoch != before.Epoch+1:
		return fmt.Errorf("I5: epoch %d after epoch %d", after.Epoch, before.Epoch)
	case after.Epoch == before.Epoch && to != nil && !sameProcess(from, to):
		return fmt.Errorf("I5: epoch %d bound to %s, then to %s", after.Epoch, process(from), process(to))
	}
	return nil
}

// checkI16: an outcome that is decided stays, and is how the run ends, once the end step
// has ended.
func (t transition) checkI16() error {
	decided, end := t.before.Ending, t.after.EndStep()
	switch {
	case t.replayed || decided == nil:
	case t.after.Ending != decided:
		return fmt.Errorf("I16: the outcome was %s, now it is %s", decided.Status, t.after.Ending.GetStatus())
	case t.after.Ended() && t.after.Status != decided.Status:
		return fmt.Errorf("I16: the run is %s, decided was %s", t.after.Status, decided.Status)
	case t.after.Ended() && !end.Phase.Ended():
		return fmt.Errorf("I16: the run has ended, its end step %q is %s", end.Def.Name, end.Phase)
	}
	return nil
}

// checkI18: a run goes on as new while it runs and no attempt is live, and keeps its
// binding, its messages and its children.
func (t transition) checkI18() error {
	before, after := t.before, t.after
	switch {
	case !t.continued:
		return nil
	case before.Ended() || before.Ending != nil:
		return fmt.Errorf("I18: it goes on as new, and has ended, or is about to")
	case before.Binding != after.Binding || before.Epoch != after.Epoch || before.unread != after.unread:
		return fmt.Errorf("I18: it goes on as new without what it had: epoch %d, now %d; %d messages, now %d", before.Epoch, after.Epoch, before.unread, after.unread)
	}
	for i := range before.Children {
		if c := &before.Children[i]; c.mayOutlive() && !after.spawned(c.RunID) {
			return fmt.Errorf("I18: it goes on as new without its child %s, which may not have ended", c.RunID)
		}
	}
	for i := range before.Steps {
		if st := &before.Steps[i]; st.Phase == Live || st.Phase == Failed {
			return fmt.Errorf("I18: it goes on as new while step %q is %s", st.Def.Name, st.Phase)
		}
	}
	return nil
}

// checkI19: sections of a stream follow each other one by one, the next once the one
// before is over, and stay who they are.
func (t transition) checkI19() error {
	for i := range t.before.Streams {
		from, to := &t.before.Streams[i], t.after.stream(t.before.Streams[i].Name)
		switch {
		case to == nil:
			return fmt.Errorf("I19: stream %q is gone", from.Name)
		case to.Section == from.Section && (to.Step != from.Step || to.Attempt != from.Attempt || to.Open && !from.Open):
			return fmt.Errorf("I19: section %d of stream %q was of %s#%d, now of %s#%d, or is open again", from.Section, from.Name, from.Step, from.Attempt, to.Step, to.Attempt)
		case to.Section != from.Section && (to.Section != from.Section+1 || from.Open):
			return fmt.Errorf("I19: section %d of stream %q comes after section %d, open %v", to.Section, from.Name, from.Section, from.Open)
		}
	}
	return nil
}

// checkI11: no attempt is live when state is handed off.
func (t transition) checkI11() error {
	h := t.after.Handed
	if h == nil || h == t.before.Handed {
		return nil
	}
	for i := range t.after.Steps {
		if st := &t.after.Steps[i]; st.Phase == Live {
			return fmt.Errorf("I11: state of epoch %d is handed off, step %q is live", h.Epoch, st.Def.Name)
		}
	}
	return nil
}

// checkI1: only a replay changes a step that has ended.
func (t stepTransition) checkI1() error {
	from, to := t.from, t.to
	switch {
	case t.replayed:
	case from.HasSucceeded() && (!to.HasSucceeded() || !bytes.Equal(to.Output, from.Output) || !to.EndedAt.Equal(from.EndedAt)):
		return fmt.Errorf("I1: it had succeeded with %q, now it is %s with %q", from.Output, to.Phase, to.Output)
	case from.Phase.Ended() && !from.HasSucceeded() && to.Phase != from.Phase:
		return fmt.Errorf("I1: it had %s, now it is %s", from.Phase, to.Phase)
	}
	return nil
}

// checkI2: attempts are numbered one by one, are sent one after the other, and
// stay where they are.
func (t stepTransition) checkI2() error {
	from, to := t.from, t.to
	switch {
	case t.sent() && to.Attempt != from.Attempt+1:
		return fmt.Errorf("I2: attempt %d after attempt %d", to.Attempt, from.Attempt)
	case t.sent() && from.Phase != Ready && from.Phase != Backoff:
		return fmt.Errorf("I2: attempt %d is sent while the step is %s", to.Attempt, from.Phase)
	case !t.sent() && from.Phase == Live && to.Phase == Live && (from.Epoch != to.Epoch || !sameProcess(from.Worker, to.Worker)):
		return fmt.Errorf("I2: attempt %d went from %s to %s", to.Attempt, process(from.Worker), process(to.Worker))
	}
	return nil
}

// checkI6: an attempt is sent when all parents have succeeded.
func (t stepTransition) checkI6() error {
	if !t.sent() {
		return nil
	}
	for _, p := range t.from.parents {
		if parent := &t.before.Steps[p]; !parent.HasSucceeded() {
			return fmt.Errorf("I6: attempt %d is sent while parent %q is %s", t.to.Attempt, parent.Def.Name, parent.Phase)
		}
	}
	return nil
}

// checkI9: only a step that has succeeded is rebuilt.
func (t stepTransition) checkI9() error {
	if t.to.Rebuild != nil && !t.from.HasSucceeded() && !t.replayed {
		return fmt.Errorf("I9: it is rebuilt, and was %s", t.from.Phase)
	}
	return nil
}

// checkI10: an attempt is sent when the state that it needs is there.
func (t stepTransition) checkI10() error {
	run := t.before
	if !t.sent() || run.builders == nil || !t.from.needsState() {
		return nil
	}
	var err error
	i, _ := run.stepAt(t.from.Def.Name)
	run.builders[i].each(func(b int) {
		if built := &run.Steps[b]; built.BuiltEpoch != t.to.Epoch && err == nil {
			err = fmt.Errorf("I10: attempt %d needs the state of step %q, which was built under epoch %d, not %d", t.to.Attempt, built.Def.Name, built.BuiltEpoch, t.to.Epoch)
		}
	})
	return err
}

// checkI11: no attempt is sent under an epoch whose state was handed off.
func (t stepTransition) checkI11() error {
	if h := t.before.Handed; t.sent() && h != nil && t.to.Epoch <= h.Epoch {
		return fmt.Errorf("I11: attempt %d is sent under epoch %d, whose state was handed off", t.to.Attempt, t.to.Epoch)
	}
	return nil
}

// checkI12: calls are recorded for a live attempt, or one that is suspended, and stay.
func (t stepTransition) checkI12() error {
	from, to := t.from, t.to
	switch {
	case t.replayed:
	case to.recorded != from.recorded && from.Phase != Live && from.Phase != Suspended && !from.decidedByEvent(to):
		return fmt.Errorf("I12: call %q is recorded while the step is %s", to.lastCall, from.Phase)
	case to.Phase.Ended():
	case to.recorded != len(to.calls):
		return fmt.Errorf("I12: %d calls were recorded, of %d", to.recorded, len(to.calls))
	}
	for key, call := range from.calls {
		if now, ok := to.calls[key]; ok && now != call {
			return fmt.Errorf("I12: call %q %s was recorded by attempt %d, and again by %d", key.name, key.key, call.attempt, now.attempt)
		}
	}
	return nil
}

// decidedByEvent says that the calls that were recorded are such as waited for an event:
// that need not wait for the next attempt.
func (from *Step) decidedByEvent(to *Step) bool {
	if from.Phase.Ended() {
		return false
	}
	for key := range to.calls {
		if _, was := from.calls[key]; !was && !from.waits[key].forEvents() {
			return false
		}
	}
	return true
}

// checkI14: a wait of a step that has not ended is over when the call is recorded.
func (t stepTransition) checkI14() error {
	if t.replayed || t.to.Phase.Ended() {
		return nil
	}
	for key := range t.from.waits {
		_, waits := t.to.waits[key]
		if _, recorded := t.to.calls[key]; waits == recorded {
			return fmt.Errorf("I14: call %q %s waited, now it waits: %v, and is recorded: %v", key.name, key.key, waits, recorded)
		}
	}
	return nil
}

// checkI15: what is suspended was live, and goes on because one of its calls was
// decided, or to clean up.
func (t stepTransition) checkI15() error {
	from, to := t.from, t.to
	switch {
	case to.Phase == Suspended && from.Phase != Suspended && from.Phase != Live:
		return fmt.Errorf("I15: attempt %d is suspended, the step was %s", to.Attempt, from.Phase)
	case t.replayed || from.Phase != Suspended || to.Phase == Suspended || to.Phase.Ended():
	case t.after.Cancel != nil && to.Phase == Ready && to.recorded == from.recorded:
	case to.Phase != Ready || to.recorded != from.recorded+1:
		return fmt.Errorf("I15: it was suspended, and is %s with %d calls recorded, %d before", to.Phase, to.recorded, from.recorded)
	}
	return nil
}

// Clone returns a copy that shares nothing that folding changes.
func (s *State) Clone() *State {
	c := *s
	c.Steps = slices.Clone(s.Steps)
	for i := range c.Steps {
		c.Steps[i].lost = slices.Clone(c.Steps[i].lost)
		c.Steps[i].calls = maps.Clone(c.Steps[i].calls)
		c.Steps[i].waits = maps.Clone(c.Steps[i].waits)
	}
	c.Children, c.links = slices.Clone(s.Children), slices.Clone(s.links)
	c.Streams, c.streamChanges = slices.Clone(s.Streams), slices.Clone(s.streamChanges)
	c.childAt = maps.Clone(s.childAt)
	c.mailbox, c.signaled.now, c.signaled.before = maps.Clone(s.mailbox), maps.Clone(s.signaled.now), maps.Clone(s.signaled.before)
	for name, box := range c.mailbox {
		c.mailbox[name] = slices.Clone(box)
	}
	return &c
}

// ApplyChecked folds an entry like ApplyEntry, and checks all invariants after
// each of its events. The state is of no use after an error.
func (s *State) ApplyChecked(e *messages.Entry) error {
	if err := s.known(e); err != nil {
		return err
	}
	at := time.UnixMicro(e.AtUs)
	for i, ev := range e.Events {
		before := s.Clone()
		s.apply(ev, at)
		err := s.Check()
		if err == nil {
			err = CheckTransition(before, s)
		}
		if err != nil {
			return fmt.Errorf("run %s, entry %d, event %d (%T): %w", s.RunID, s.Number+1, i+1, ev.Kind, err)
		}
	}
	s.takeStreamChanges()
	s.Number++
	s.passed(at)
	return nil
}
