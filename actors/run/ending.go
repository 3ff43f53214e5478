package run

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The end step of a workflow is executed once for each end of a run, before it:
//
//	all other steps have ended  and the children that end with the run know of it: the
//	                            outcome is decided and on record, as RunEnding. Nothing
//	                            of the run is executed from then on but the end step.
//	it is for other outcomes    The step is skipped, and the run has ended.
//	the end step has ended      so has the run, with the outcome that was decided, however
//	                            the end step came out. Only now its worker is told to
//	                            let go of the local state. Who waits for the end of the
//	                            run, its parent among them, hears of it now.
//
// It is placed as every other step of the run: on the bound worker, whose patience with
// a busy one does not end; elsewhere, with new state, if a SOFT run's worker is gone or
// drains. A HARD run's end step waits for its worker, at most for its schedule timeout:
// such a run goes nowhere else, not even at its end.
//
// A cancel that comes once the outcome is decided changes neither that nor the end step,
// unless it says that the run is to end without it.
//
// A replay begins a new end. One of the end step alone does that step again, with the
// outcome that it was for.

// isEnd says that it is the end step of the workflow.
func (st *Step) isEnd() bool { return st.Def.IsEndStep() }

// awaitsEnd says that it is the end step, and the outcome not decided.
func (st *Step) awaitsEnd() bool { return st.isEnd() && st.Phase == Waiting }

// EndStep is the end step of the run; nil if it has none.
func (s *State) EndStep() *Step {
	if s.endAt == noStep {
		return nil
	}
	return &s.Steps[s.endAt]
}

// noStep is an index of none.
const noStep = -1

// applyEnding folds the outcome. A cancel has done what it was for: another one is for
// the end step.
func (s *State) applyEnding(k *messages.RunEnding, at time.Time) {
	s.Ending = k
	s.Cancel, s.CancelAt = nil, time.Time{}
	for i := range s.Steps {
		// What failed or was canceled may have left state, too.
		if st := &s.Steps[i]; st.Epoch > s.WorkedEpoch {
			s.WorkedEpoch, s.workedWorker = st.Epoch, st.Worker.GetWorkerId()
		}
	}
	end := s.EndStep()
	end.Phase, end.ReadyAt = Ready, at
}

// applyReplayOfEnd folds what a replay makes of the end.
func (s *State) applyReplayOfEnd(steps []string, at time.Time) {
	if !s.endAlone(steps) {
		s.Ending = nil
		return
	}
	end := s.EndStep()
	end.Phase, end.ReadyAt = Ready, at
}

// endAlone says that of some steps there is only the end step.
func (s *State) endAlone(steps []string) bool {
	end := s.EndStep()
	return end != nil && len(steps) == 1 && steps[0] == end.Def.Name
}

// ---- deciding ------------------------------------------------------------------

// conclude ends a run all of whose steps have ended but for its end step: that is
// executed first.
func (m *Machine) conclude(outcome *messages.RunEnding) {
	end := m.s.EndStep()
	if m.s.Ending != nil {
		outcome = m.s.Ending
	}
	switch {
	case end == nil || end.Phase.Ended():
	case slices.Contains(end.Def.OnEnd, outcome.Status):
		m.emit(&messages.Event{Kind: &messages.Event_RunEnding{RunEnding: outcome}})
		m.children.stay() // It may spawn others.
		m.advance()
		return
	default:
		m.emit(&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{
			Step: end.Def.Name, Reason: messages.Reason_REASON_OTHER_OUTCOME}}})
	}
	m.endRun(outcome.Status, outcome.Failure)
}

// cancelsEnd answers a cancel once the outcome is decided.
func (m *Machine) cancelsEnd(in Cancel) {
	if m.s.Ending.Status == messages.RunStatus_RUN_STATUS_CANCELED {
		m.later(Reply{Token: in.Token})
		return
	}
	m.later(Reply{Token: in.Token, Err: messages.Errorf(messages.CodeRunEnding,
		"the outcome of run %s is decided: it is %s once its end step %q is over",
		m.s.RunID, statusWord(m.s.Ending.Status), m.s.EndStep().Def.Name)})
}
