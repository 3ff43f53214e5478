package run

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Check returns the first invariant of the package doc that the state breaks.
// Those that concern transitions are CheckTransition's.
func (s *State) Check() error {
	var on *messages.WorkerRef
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.Failures > st.Def.Retries+1 {
			return fmt.Errorf("I8: step %q charged %d failures, retries are %d", st.Def.Name, st.Failures, st.Def.Retries)
		}
		if st.Phase != Live {
			if s.Ended() && !st.Phase.Ended() {
				return fmt.Errorf("I7: run ended, step %q is %s", st.Def.Name, st.Phase)
			}
			continue
		}
		if s.Ended() {
			return fmt.Errorf("I7: run ended, step %q is live", st.Def.Name)
		}
		for _, p := range st.parents {
			if !s.Steps[p].HasSucceeded() {
				return fmt.Errorf("I6: step %q is live, parent %q is %s", st.Def.Name, s.Steps[p].Def.Name, s.Steps[p].Phase)
			}
		}
		if !s.isSticky() {
			continue
		}
		if s.Binding.Worker == nil || st.Epoch != s.Binding.Epoch || !sameProcess(st.Worker, s.Binding.Worker) {
			return fmt.Errorf("I3: live attempt %s#%d of epoch %d is not under the binding of epoch %d", st.Def.Name, st.Attempt, st.Epoch, s.Binding.Epoch)
		}
		if on != nil && !sameProcess(on, st.Worker) {
			return fmt.Errorf("I3: live attempts on %s and %s", on.WorkerId, st.Worker.WorkerId)
		}
		on = st.Worker
	}
	if s.Binding.Worker != nil && s.Binding.Epoch != s.Epoch {
		return fmt.Errorf("I5: binding of epoch %d, newest is %d", s.Binding.Epoch, s.Epoch)
	}
	return nil
}

// CheckTransition returns the first invariant that is broken by what one event
// made of a state: I1, I4, I5 and I6, and that attempts are numbered one by one
// and never change their worker.
func CheckTransition(before, after *State) error {
	replayed := after.Generation != before.Generation
	if err := checkEnd(before, after, replayed); err != nil {
		return err
	}
	if h := after.Handed; h != nil && h != before.Handed {
		for i := range after.Steps {
			if st := &after.Steps[i]; st.Phase == Live {
				return fmt.Errorf("I11: state of epoch %d is handed off, step %q is live", h.Epoch, st.Def.Name)
			}
		}
	}
	from, to := before.Binding.Worker, after.Binding.Worker
	if before.hard() && !replayed && from != nil && from.WorkerId != to.GetWorkerId() {
		return fmt.Errorf("I4: HARD run bound to worker %q, then to %q", from.WorkerId, to.GetWorkerId())
	}
	if after.Epoch != before.Epoch && after.Epoch != before.Epoch+1 {
		return fmt.Errorf("I5: epoch %d after epoch %d", after.Epoch, before.Epoch)
	}
	if after.Epoch == before.Epoch && to != nil && !sameProcess(from, to) {
		return fmt.Errorf("I5: epoch %d bound to %s, then to %s", after.Epoch, process(from), process(to))
	}
	for i := range after.Steps {
		if err := checkStep(before, &before.Steps[i], &after.Steps[i], replayed); err != nil {
			return fmt.Errorf("%w: step %q", err, after.Steps[i].Def.Name)
		}
	}
	return nil
}

func checkEnd(before, after *State, replayed bool) error {
	if !before.Ended() {
		if replayed {
			return fmt.Errorf("I1: replayed while it runs")
		}
		return nil
	}
	if !replayed && (after.Status != before.Status || !after.FinishedAt.Equal(before.FinishedAt) || after.Epoch != before.Epoch) {
		return fmt.Errorf("I1: the run had ended %s, now it is %s, epoch %d", before.Status, after.Status, after.Epoch)
	}
	return nil
}

func checkStep(run *State, before, after *Step, replayed bool) error {
	switch {
	case after.Attempt != before.Attempt && after.Attempt != before.Attempt+1:
		return fmt.Errorf("I2: attempt %d after attempt %d", after.Attempt, before.Attempt)
	case after.Attempt != before.Attempt && before.Phase != Ready && before.Phase != Backoff:
		return fmt.Errorf("I2: attempt %d is sent while the step is %s", after.Attempt, before.Phase)
	case after.Attempt == before.Attempt && before.Phase == Live && after.Phase == Live && (before.Epoch != after.Epoch || !sameProcess(before.Worker, after.Worker)):
		return fmt.Errorf("I2: attempt %d went from %s to %s", after.Attempt, process(before.Worker), process(after.Worker))
	case replayed:
		return nil
	case before.HasSucceeded() && (!after.HasSucceeded() || !bytes.Equal(after.Output, before.Output) || !after.EndedAt.Equal(before.EndedAt)):
		return fmt.Errorf("I1: it had succeeded with %q, now it is %s with %q", before.Output, after.Phase, after.Output)
	case before.Phase.Ended() && !before.HasSucceeded() && after.Phase != before.Phase:
		return fmt.Errorf("I1: it had %s, now it is %s", before.Phase, after.Phase)
	case after.Rebuild != nil && !before.HasSucceeded():
		return fmt.Errorf("I9: it is rebuilt, and was %s", before.Phase)
	}
	if after.Attempt != before.Attempt {
		for _, p := range before.parents {
			if !run.Steps[p].HasSucceeded() {
				return fmt.Errorf("I6: attempt %d is sent while parent %q is %s", after.Attempt, run.Steps[p].Def.Name, run.Steps[p].Phase)
			}
		}
		return checkSent(run, before, after)
	}
	return nil
}

// checkSent checks an attempt that is sent.
func checkSent(run *State, before, after *Step) error {
	if run.Handed != nil && after.Epoch <= run.Handed.Epoch {
		return fmt.Errorf("I11: attempt %d is sent under epoch %d, whose state was handed off", after.Attempt, after.Epoch)
	}
	if run.builders == nil || !before.needsState() {
		return nil
	}
	var err error
	run.builders[run.index[after.Def.Name]].each(func(b int) {
		if st := &run.Steps[b]; st.BuiltEpoch != after.Epoch {
			err = fmt.Errorf("I10: attempt %d needs the state of step %q, which was built under epoch %d, not %d", after.Attempt, st.Def.Name, st.BuiltEpoch, after.Epoch)
		}
	})
	return err
}

// Clone returns a copy that shares nothing that folding changes.
func (s *State) Clone() *State {
	c := *s
	c.Steps = slices.Clone(s.Steps)
	for i := range c.Steps {
		c.Steps[i].lost = slices.Clone(c.Steps[i].lost)
	}
	c.Children = slices.Clone(s.Children)
	c.childAt = maps.Clone(s.childAt)
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
	s.Number++
	s.passed(at)
	return nil
}
