package run

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Fold builds the state of a run from its entries: all, or those from a link on (see
// carrying.go). A history with an event
// that this version does not know is refused with RUN_SET_ASIDE, never half
// read.
func Fold(runID string, def *messages.WorkflowDefinition, entries [][]byte) (*State, error) {
	s := NewState(runID, def)
	for i, data := range entries {
		e, err := DecodeEntry(data)
		if err != nil {
			return nil, messages.Errorf(messages.CodeRunSetAside, "run %s, entry %d: %w", runID, i+1, err)
		}
		if i == 0 {
			e = s.begin(e)
		}
		if err := s.known(e); err != nil {
			return nil, messages.Errorf(messages.CodeRunSetAside, "run %s, entry %d: %w", runID, i+1, err)
		}
		s.ApplyEntry(e)
	}
	return s, nil
}

// DecodeEntry unmarshals an entry and refuses one with an event kind that
// this version does not know.
func DecodeEntry(data []byte) (*messages.Entry, error) {
	e := new(messages.Entry)
	if err := messages.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("unreadable entry: %w", err)
	}
	for i, ev := range e.Events {
		if ev.Kind == nil {
			return nil, fmt.Errorf("event %d is of a kind that this version does not know", i+1)
		}
	}
	return e, nil
}

// known refuses an entry that names a step which the definition does not have,
// and a history that does not begin with a start.
func (s *State) known(e *messages.Entry) error {
	for i, ev := range e.Events {
		names := slices.Concat(ev.GetRunReplayed().GetSteps(), ev.GetNotOffered().GetSteps())
		if name, ok := stepOf(ev); ok {
			names = []string{name}
		}
		for _, name := range names {
			if s.Step(name) == nil {
				return fmt.Errorf("step %q is not in definition %q", name, s.Def.Name)
			}
		}
		if err := s.complete(ev); err != nil {
			return fmt.Errorf("event %d: %w", i+1, err)
		}
		if first := s.Number == 0 && i == 0; first != (ev.GetRunStarted() != nil) {
			return fmt.Errorf("event %d: a run starts once, with its first event", i+1)
		}
	}
	return nil
}

// complete refuses an event without what it is about.
func (s *State) complete(ev *messages.Event) error {
	var missing bool
	switch k := ev.Kind.(type) {
	case *messages.Event_Bound:
		missing = k.Bound.Worker == nil
	case *messages.Event_StepDispatched:
		missing = k.StepDispatched.Worker == nil
	case *messages.Event_StepFailed:
		missing = k.StepFailed.Failure == nil
	case *messages.Event_RebuildBegan:
		missing = s.builders == nil
	case *messages.Event_RunEnding:
		missing = s.endAt == noStep
	}
	if missing {
		return fmt.Errorf("%T lacks its worker or its failure, or a step that it is about", ev.Kind)
	}
	return nil
}

// stepOf is a list: one line for each kind of event that is about a step.
//
//gocyclo:ignore
func stepOf(ev *messages.Event) (string, bool) {
	switch k := ev.Kind.(type) {
	case *messages.Event_StepDispatched:
		return k.StepDispatched.Step, true
	case *messages.Event_StepStarted:
		return k.StepStarted.Step, true
	case *messages.Event_StepProgressed:
		return k.StepProgressed.Step, true
	case *messages.Event_StreamOpened:
		return k.StreamOpened.Step, true
	case *messages.Event_StepSucceeded:
		return k.StepSucceeded.Step, true
	case *messages.Event_AttemptFailed:
		return k.AttemptFailed.Step, true
	case *messages.Event_AttemptLost:
		return k.AttemptLost.Step, true
	case *messages.Event_AttemptRevoked:
		return k.AttemptRevoked.Step, true
	case *messages.Event_StepFailed:
		return k.StepFailed.Step, true
	case *messages.Event_StepSkipped:
		return k.StepSkipped.Step, true
	case *messages.Event_StepCanceled:
		return k.StepCanceled.Step, true
	case *messages.Event_ChildSpawned:
		return k.ChildSpawned.Step, true
	case *messages.Event_ResultRefused:
		return k.ResultRefused.Step, true
	case *messages.Event_RebuildBegan:
		return k.RebuildBegan.Step, true
	case *messages.Event_StepRebuilt:
		return k.StepRebuilt.Step, true
	case *messages.Event_CallRecorded:
		return k.CallRecorded.Step, true
	case *messages.Event_CallWaits:
		return k.CallWaits.Step, true
	case *messages.Event_AttemptSuspended:
		return k.AttemptSuspended.Step, true
	case *messages.Event_RunContinued:
		return k.RunContinued.Step, true
	}
	return "", false
}

// ApplyEntry folds one entry that decoded and whose steps are known.
func (s *State) ApplyEntry(e *messages.Entry) {
	at := time.UnixMicro(e.AtUs)
	for _, ev := range e.Events {
		s.apply(ev, at)
	}
	s.takeStreamChanges()
	s.Number++
	s.passed(at)
}

// passed notes the time of an entry.
func (s *State) passed(at time.Time) {
	if at.After(s.At) {
		s.At = at
	}
}

// apply folds one event: a case for each kind. It cannot fail: what is in the
// journal is true.
//
//gocyclo:ignore
func (s *State) apply(ev *messages.Event, at time.Time) {
	if _, sleeps := ev.Kind.(*messages.Event_RunDormant); !sleeps {
		s.Dormant = nil
	}
	switch k := ev.Kind.(type) {
	case *messages.Event_RunStarted:
		s.Start, s.Status, s.CreatedAt = k.RunStarted, messages.RunStatus_RUN_STATUS_RUNNING, at
		s.readyRoots(at)
	case *messages.Event_Bound:
		s.Epoch = k.Bound.Epoch
		s.Binding = Binding{Worker: k.Bound.Worker, Epoch: k.Bound.Epoch, Reason: k.Bound.Reason, Since: at, Away: s.Binding.awayUntil(at)}
		s.StateLost = false
		s.offered()
		s.takeHanded()
	case *messages.Event_BindingLost:
		s.Binding.Lost, s.Binding.LostReason, s.Binding.LostAt = true, k.BindingLost.Reason, at
	case *messages.Event_NotOffered:
		for _, name := range k.NotOffered.Steps {
			s.Step(name).NotOffered = true
		}
	case *messages.Event_BindingRestored:
		s.offered()
		s.Binding.Away = s.Binding.awayUntil(at)
		s.Binding.Lost, s.Binding.LostReason, s.Binding.LostAt = false, 0, time.Time{}
	case *messages.Event_StateHandedOff:
		s.Handed = k.StateHandedOff
	case *messages.Event_ChildSpawned:
		s.applySpawned(k.ChildSpawned)
	case *messages.Event_CancelRequested:
		if s.Cancel == nil {
			s.CancelAt = at
		}
		s.Cancel = k.CancelRequested
		s.endSuspensions(at)
	case *messages.Event_ResultRefused:
		s.Step(k.ResultRefused.Step).forgetLost(k.ResultRefused.Attempt)
	case *messages.Event_Signaled:
		s.applySignaled(k.Signaled)
	case *messages.Event_RunDormant:
		s.Dormant = k.RunDormant
	case *messages.Event_RunWoken:
	case *messages.Event_RunEnding:
		s.applyEnding(k.RunEnding, at)
	case *messages.Event_RunEnded:
		s.Status, s.Failure, s.FinishedAt = k.RunEnded.Status, k.RunEnded.Failure, at
	case *messages.Event_RunContinued:
		s.applyContinued(k.RunContinued, at)
	case *messages.Event_RunReplayed:
		s.applyReplay(k.RunReplayed, at)
	default:
		s.applyStep(ev, at)
	}
	s.closeStreams()
}

// applySpawned folds a child, which takes the place of an earlier one of its key.
func (s *State) applySpawned(c *messages.ChildSpawned) {
	try := 0
	if earlier := s.child(c.Step, c.Key); earlier != nil {
		try = earlier.try + 1
	}
	if s.childAt == nil {
		s.childAt = map[childKey]int{}
	}
	s.childAt[childKey{c.Step, c.Key, s.Generation}] = len(s.Children)
	s.Children = append(s.Children, Child{
		Step: c.Step, Key: c.Key, RunID: c.ChildRun, Workflow: c.Workflow, DefinitionHash: c.DefinitionHash, InputHash: c.InputHash,
		Sticky: c.Sticky, OnParentEnd: c.OnParentEnd, KeepOnCancel: c.KeepOnCancel,
		attempt: c.Attempt, try: try,
	})
}

// applyStep is a list: one case for each kind of event that is about a step.
//
//gocyclo:ignore
func (s *State) applyStep(ev *messages.Event, at time.Time) {
	name, _ := stepOf(ev)
	st := s.Step(name)
	s.noteLive(st)
	switch k := ev.Kind.(type) {
	case *messages.Event_StepDispatched:
		d := k.StepDispatched
		if st.Phase == Backoff {
			st.ReadyAt = st.RetryAt
		}
		st.Phase, st.Attempt, st.Worker, st.Epoch = Live, d.Attempt, d.Worker, d.Epoch
		st.DispatchedAt, st.StartedAt, st.spoilt, st.NotOffered = at, time.Time{}, false, false
		st.Waited, st.Queued, st.StartRecorded = 0, 0, false
		s.attempts++
	case *messages.Event_StepStarted:
		st.StartedAt, st.StartRecorded = time.UnixMicro(k.StepStarted.StartedUs), true
		st.waited(k.StepStarted.StartedUs)
	case *messages.Event_StepProgressed:
		p := k.StepProgressed
		st.Progress = &Progress{Attempt: p.Attempt, Serial: p.Serial, Value: p.Progress, At: at}
	case *messages.Event_StreamOpened:
		s.applyOpened(k.StreamOpened)
	case *messages.Event_StepSucceeded:
		st.Output, st.StartedAt = k.StepSucceeded.Output, time.UnixMicro(k.StepSucceeded.StartedUs)
		st.waited(k.StepSucceeded.StartedUs)
		s.endStep(st, Succeeded, nil, at)
		s.stepEnded(st)
		st.built()
		s.applyNext(st)
		s.readyChildren(st, at)
	case *messages.Event_AttemptFailed:
		s.applyFailed(st, k.AttemptFailed)
	case *messages.Event_AttemptLost:
		s.applyLost(st, k.AttemptLost, at)
	case *messages.Event_AttemptRevoked:
		st.Phase = Ready
		st.leftNothing()
	case *messages.Event_StepFailed:
		s.dropHanded(st)
		s.endStep(st, Failed, k.StepFailed.Failure, at)
	case *messages.Event_StepSkipped:
		st.SkipReason = k.StepSkipped.Why()
		s.endStep(st, Skipped, nil, at)
	case *messages.Event_StepCanceled:
		if st.Rebuild == nil {
			st.SkipReason = k.StepCanceled.Why()
		}
		s.endStep(st, Canceled, nil, at)
	case *messages.Event_CallRecorded:
		s.applyCall(st, k.CallRecorded, at)
	case *messages.Event_CallWaits:
		s.applyWaits(st, k.CallWaits, at)
	case *messages.Event_AttemptSuspended:
		s.applySuspended(st, k.AttemptSuspended, at)
	case *messages.Event_RebuildBegan:
		st.beginRebuild(k.RebuildBegan, at)
	case *messages.Event_StepRebuilt:
		st.StartedAt = time.UnixMicro(k.StepRebuilt.StartedUs)
		st.waited(k.StepRebuilt.StartedUs)
		s.stepEnded(st)
		st.built()
		s.endStep(st, Succeeded, nil, at)
		s.awaited(st, at)
	}
}

// waited notes how long the newest attempt waited for its start; 0 if it never
// started.
func (st *Step) waited(startedUs int64) {
	if startedUs == 0 {
		return
	}
	started := time.UnixMicro(startedUs)
	st.Waited, st.Queued = max(0, started.Sub(st.ReadyAt)), max(0, started.Sub(st.DispatchedAt))
}

// awayUntil is how long the worker of a binding could not be used by then.
func (b *Binding) awayUntil(at time.Time) time.Duration {
	if !b.Lost {
		return 0
	}
	return max(0, at.Sub(b.LostAt))
}

// offered ends the waits for what nobody offers.
func (s *State) offered() {
	for i := range s.Steps {
		s.Steps[i].NotOffered = false
	}
}

// applyFailed folds a failure that is charged to the retries.
func (s *State) applyFailed(st *Step, f *messages.AttemptFailed) {
	st.Failures++
	st.Failure = f.Failure
	st.firstTry = st.Attempt + 1
	st.waited(f.StartedUs)
	if f.Abandoned {
		st.lost = append(st.lost, f.Attempt)
	}
	if messages.Code(f.Failure.GetCode()) == messages.CodeStateNotBuilt {
		st.leftNothing()
	} else {
		s.worked(st)
	}
	st.Phase, st.RetryAt, st.ReadyAt = Backoff, time.UnixMicro(f.RetryAtUs), time.UnixMicro(f.RetryAtUs)
	if f.RetryAtUs == 0 {
		st.Phase = Ready
	}
}

// applyLost folds the loss of an attempt: with its worker, or with the local
// state that it needs.
func (s *State) applyLost(st *Step, k *messages.AttemptLost, at time.Time) {
	st.Phase = Ready
	st.firstTry = st.Attempt + 1
	if !k.Started {
		st.leftNothing()
	} else {
		st.Lost++
		st.ReadyAt = at
		if processEnded(k.Reason) {
			st.Downs++
		}
	}
	if k.Reason == messages.Reason_REASON_STATE_LOST {
		s.loseState(st)
		return
	}
	st.lost = append(st.lost, st.Attempt)
}

// endStep ends a step, or its rebuild: however that ends, the step has
// succeeded, at the time at which it did.
func (s *State) endStep(st *Step, p Phase, f *messages.Failure, at time.Time) {
	if st.Rebuild != nil {
		st.endRebuild()
		return
	}
	st.Phase, st.Failure, st.EndedAt = p, f, at
	st.forgetCalls()
}

// worked notes that a step ended under its epoch: from here on the local
// state of that epoch is not new.
func (s *State) worked(st *Step) {
	if st.Epoch > s.WorkedEpoch {
		s.WorkedEpoch = st.Epoch
	}
	s.StateLost = false
	if st.Worker != nil {
		s.workedWorker = st.Worker.WorkerId
	}
}

// stepEnded notes that a step has done its work under its epoch, so that what
// was handed to that epoch has arrived.
func (s *State) stepEnded(st *Step) {
	s.worked(st)
	s.dropHanded(st)
}

// leftNothing notes that the newest attempt has not done its work: what was handed to
// its epoch is still to arrive, and the local state of that epoch is still new.
func (st *Step) leftNothing() { st.Epoch = 0 }

func (s *State) readyRoots(at time.Time) {
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Phase == Waiting && !st.isEnd() && s.parentsSucceeded(st) {
			st.Phase, st.ReadyAt = Ready, at
		}
	}
}

func (s *State) readyChildren(st *Step, at time.Time) {
	for _, c := range st.children {
		if child := &s.Steps[c]; child.Phase == Waiting && s.parentsSucceeded(child) {
			child.Phase, child.ReadyAt = Ready, at
		}
	}
}

func (s *State) parentsSucceeded(st *Step) bool {
	for _, p := range st.parents {
		if !s.Steps[p].HasSucceeded() {
			return false
		}
	}
	return true
}

// applyReplay puts the named steps and their descendants back to the start,
// all of them if none is named. Attempts go on counting, so that an answer
// from before the replay is recognised.
func (s *State) applyReplay(r *messages.RunReplayed, at time.Time) {
	for i := range s.replayed(r.Steps) {
		s.Steps[i].reset(slices.Contains(r.Steps, s.Steps[i].Def.Name))
	}
	s.Status, s.Failure, s.FinishedAt, s.ReplayedAt = messages.RunStatus_RUN_STATUS_RUNNING, nil, time.Time{}, at
	s.Cancel, s.CancelAt = nil, time.Time{}
	s.Binding = Binding{}
	s.Handed, s.StateLost = nil, false
	s.applyReplayOfEnd(r.Steps, at)
	s.keepNext()
	s.Generation++
	if r.RequestId != "" {
		s.replays = append(s.replays, r.RequestId)
	}
	s.readyRoots(at)
}

// reset puts a step back to the start. One that is named keeps its calls if it
// failed for them.
func (st *Step) reset(named bool) {
	fresh := Step{Def: st.Def, parents: st.parents, children: st.children, Attempt: st.Attempt, firstTry: st.Attempt + 1, lost: st.lost}
	fresh.rerun = named && !st.isEnd()
	if named && st.keepsCalls() {
		fresh.calls, fresh.recorded, fresh.lastCall, fresh.next = st.calls, st.recorded, st.lastCall, st.next
	}
	*st = fresh
}

// replayed returns the steps that a replay of the named ones runs again: each has an
// end of its own.
func (s *State) replayed(names []string) map[int]bool {
	again := map[int]bool{}
	var add func(i int)
	add = func(i int) {
		if again[i] {
			return
		}
		again[i] = true
		for _, c := range s.Steps[i].children {
			add(c)
		}
	}
	for _, n := range names {
		i, _ := s.stepAt(n)
		add(i)
	}
	if s.endAt != noStep {
		add(s.endAt)
	}
	if len(names) == 0 {
		for i := range s.Steps {
			add(i)
		}
	}
	return again
}
