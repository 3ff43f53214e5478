package run

import (
	"slices"
	"strconv"
	"strings"

	"github.com/limpetrun/limpet/messages"
)

func (m *Machine) start(in Start) {
	if m.s.Start == nil {
		m.lining.told = unsure
		m.emit(&messages.Event{Kind: &messages.Event_RunStarted{RunStarted: in.Started}})
		if in.Cancel != nil {
			// Nothing has begun that an end step could tidy up.
			m.emit(&messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{
				Reason: in.Cancel.Reason, WithoutEndStep: true}}})
		}
		err := m.takeSignal(in.Signal)
		m.later(Reply{Token: in.Token, Err: err})
		return
	}
	if in.Signal != nil {
		err := m.takeSignal(in.Signal)
		m.later(Reply{Token: in.Token, Existed: err == nil, Err: err})
		return
	}
	if in.Cancel != nil {
		if !m.s.Ended() && m.s.Cancel == nil && m.s.Ending == nil {
			m.requestCancel(in.Cancel)
		}
		m.later(Reply{Token: in.Token, Existed: true})
		return
	}
	have, input := m.s.Start, m.s.startInput()
	if have.Workflow != in.Started.Workflow || !messages.SamePayload(input, in.Started.Input) {
		m.later(Reply{Token: in.Token, Err: messages.Errorf(messages.CodeIdempotencyMismatch,
			"run %s was started with workflow %q and %d bytes of input; this start has workflow %q and another input of %d bytes",
			m.s.RunID, have.Workflow, len(input), in.Started.Workflow, len(in.Started.Input))})
		return
	}
	m.later(Reply{Token: in.Token, Existed: true})
}

// takeUp resumes what an earlier activation left: attempts that live on
// workers are asked for, not repeated.
func (m *Machine) takeUp(in TakeUp) {
	s := m.s
	m.absences, m.backAt, m.waits.notedAt = in.Absences, m.now, m.now
	switch line := s.Dormant.GetLine(); {
	case in.InTurn:
		m.lining.told = line
	case line != 0:
		m.lining.parked = line
	}
	if s.Start == nil || s.Ended() {
		m.presence.lingerTo = m.now.Add(m.cfg.DormantAfter)
		return
	}
	if b := s.Binding; b.Worker != nil && b.Lost {
		// The news is whether any process of the worker is up.
		m.gone.add(b.Worker, m.now)
		m.later(Watch{b.Worker.WorkerId, ""})
	} else if b.Worker != nil {
		m.later(Watch{b.Worker.WorkerId, b.Worker.Incarnation})
	}
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.Phase != Live {
			continue
		}
		if !s.isSticky() {
			m.later(Watch{st.Worker.WorkerId, st.Worker.Incarnation})
		}
		m.contacts[i] = contact{takeUp: s.Cancel == nil, takenUpAt: m.now}
		if slices.Contains(s.Dormant.GetIdleSteps(), st.Def.Name) {
			m.contacts[i].idleWaits = st.waitsHash()
		}
		if !s.Binding.Lost && s.Cancel == nil {
			m.sendDispatch(i, 0)
		}
	}
	if s.Cancel != nil {
		m.passCancel()
	}
}

func (m *Machine) cancel(in Cancel) {
	switch {
	case m.s.Start == nil:
		m.later(Reply{Token: in.Token, Err: unknownRun(m.s.RunID)})
	case m.s.Ended():
		m.later(Reply{Token: in.Token, Err: messages.Errorf(messages.CodeRunFinished, "run %s has already ended: it is %s", m.s.RunID, statusWord(m.s.Status))})
	case m.s.Cancel != nil && (m.s.Cancel.WithoutEndStep || !in.WithoutEndStep):
		m.later(Reply{Token: in.Token})
	case m.s.Ending != nil && !in.WithoutEndStep:
		m.cancelsEnd(in)
	default:
		m.requestCancel(&messages.CancelRequested{Reason: in.Reason, WithoutEndStep: in.WithoutEndStep})
		m.later(Reply{Token: in.Token})
	}
}

func (m *Machine) requestCancel(r *messages.CancelRequested) {
	suspended, handsOff := m.s.suspended(), m.leaving.handOff != nil
	m.emit(&messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: r}})
	m.withdrawAll()
	m.leaving.handOff = nil
	m.children.stay()
	m.passCancel()
	if !handsOff {
		m.haveCleanedUp(suspended)
	}
}

// passCancel tells live attempts.
func (m *Machine) passCancel() {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase == Live && !m.s.Binding.Lost {
			m.cancelAttempt(i)
		}
	}
}

func (m *Machine) cancelAttempt(i int) {
	st := &m.s.Steps[i]
	m.contacts[i].sentAt, m.contacts[i].cleansUp = m.now, false
	m.later(SendWorker{st.Worker, &messages.CancelAttempt{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt,
		Reason: messages.Reason_REASON_RUN_CANCELED, Text: m.s.Cancel.Reason}})
}

// canceled says that something was, and why if that was said.
func (m *Machine) canceled(what string) string {
	if m.s.Cancel.Reason == "" {
		return what + " canceled"
	}
	return what + " canceled: " + m.s.Cancel.Reason
}

// advanceCancel ends what can be ended at once, and concludes the run when nothing
// lives and every child has taken note.
func (m *Machine) advanceCancel() {
	givenUp := m.due(m.s.CancelAt.Add(m.cfg.CancelGrace))
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		switch {
		case st.awaitsEnd() && !m.s.Cancel.WithoutEndStep:
			continue
		case st.Phase != Live:
		case m.s.Binding.Lost:
			m.attemptLost(i, m.hadBegun(i), m.s.Binding.LostReason)
		case givenUp:
			m.attemptLost(i, m.hadBegun(i), messages.Reason_REASON_CANCEL_NOT_ANSWERED)
		default:
			if at, _ := m.resendAt(i); m.due(at) {
				m.cancelAttempt(i)
			}
			continue
		}
		if !st.Phase.Ended() {
			m.emit(&messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{
				Step: st.Def.Name, Reason: messages.Reason_REASON_RUN_CANCELED, Text: m.s.Cancel.Reason}}})
		}
	}
	if m.parted() && !m.anyLive() {
		m.conclude(&messages.RunEnding{Status: messages.RunStatus_RUN_STATUS_CANCELED,
			Failure: &messages.Failure{Code: string(messages.CodeCanceled), Message: m.canceled("run")}})
	}
}

func (m *Machine) replay(in Replay) {
	if m.s.HasReplay(in.RequestID) {
		m.later(Reply{Token: in.Token})
		return
	}
	if err := m.replayFault(in.Steps); err != nil {
		m.later(Reply{Token: in.Token, Err: err})
		return
	}
	m.emit(&messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: in.Steps, RequestId: in.RequestID}}})
	for i := range m.contacts {
		m.contacts[i] = contact{}
	}
	m.forgetBinding()
	m.children.stay()
	m.later(Reply{Token: in.Token})
}

func (m *Machine) replayFault(steps []string) error {
	if m.s.Start == nil {
		return unknownRun(m.s.RunID)
	}
	if !m.s.Ended() {
		return messages.Errorf(messages.CodeRunNotFinished, "run %s is still running: only a run that has ended can be replayed", m.s.RunID)
	}
	for _, n := range steps {
		if m.s.Step(n) == nil {
			return messages.Errorf(messages.CodeUnknownStep, "workflow %q has no step %q; it has %s", m.s.Def.Name, n, strings.Join(m.s.Def.StepNames(), ", "))
		}
	}
	if m.s.endAlone(steps) && m.s.Ending == nil {
		return messages.Errorf(messages.CodeInvalidArgument, "step %q is the end step of workflow %q, and was not executed for run %s, which is %s: replay other steps; it follows them", steps[0], m.s.Def.Name, m.s.RunID, statusWord(m.s.Status))
	}
	again := m.s.replayed(steps)
	for i := range again {
		for _, p := range m.s.Steps[i].parents {
			if parent := &m.s.Steps[p]; !again[p] && parent.Phase != Succeeded {
				return messages.Errorf(messages.CodeInvalidArgument, "step %q cannot be replayed: its parent %q did not succeed (%s): replay that one", m.s.Steps[i].Def.Name, parent.Def.Name, parent.Phase)
			}
		}
	}
	return nil
}

// spawn records a child before it is started. The same step and key get their
// earlier child back, started again in case the first start was lost.
func (m *Machine) spawn(in Spawn) {
	msg := in.Message
	if st := m.s.Step(msg.Step); st != nil && msg.Attempt > st.Attempt {
		// Another activation made the attempt: this one is behind the journal.
		m.later(Reply{Token: in.Token, Err: m.elsewhere()})
		m.die(m.elsewhere())
		return
	}
	c, err := m.spawnable(in)
	if err != nil {
		m.later(Reply{Token: in.Token, Err: err})
		return
	}
	if c == nil || in.Unsuccessful == c.RunID && c.RunID == m.MayReplace(msg) {
		if m.s.Cancel != nil {
			in.NoNew = m.spawnsNothing(msg)
		}
		if in.NoNew != nil {
			m.later(Reply{Token: in.Token, Err: in.NoNew})
			return
		}
		m.emit(&messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{
			Step: msg.Step, Attempt: msg.Attempt, Key: msg.Key, ChildRun: m.childID(msg, c), Workflow: msg.Workflow,
			DefinitionHash: in.Hash, Sticky: msg.Sticky, InputHash: messages.HashInput(msg.Input),
			OnParentEnd: onParentEnd(msg), InsteadOf: c.runID()}}})
		c = m.s.child(msg.Step, msg.Key)
	}
	started := &messages.RunStarted{
		Workflow: msg.Workflow, DefinitionHash: in.Hash, Input: msg.Input, Pool: in.Def.EffectivePool(), Sticky: in.Def.Sticky,
		Priority:  messages.EffectivePriority(msg.Priority, in.Def.Priority, m.s.Start.Priority),
		ParentRun: m.s.RunID, ParentStep: msg.Step, Trigger: "child", Metadata: msg.Metadata,
		Traceparent: messages.AttemptSpan(m.s.Start.Traceparent, m.s.RunID, msg.Step, msg.Attempt),
	}
	if msg.Sticky {
		started.BindTo = m.s.Step(msg.Step).Worker
	}
	m.children.await(c.RunID, in.Token)
	m.later(StartChild{&messages.StartRun{RunId: c.RunID, Start: started}})
}

// spawnsNothing refuses a spawn of an attempt that nobody wants any more, and new
// children of a run that is canceled: a step that cleans up is given back those that it
// has.
func (m *Machine) spawnsNothing(msg *messages.SpawnChild) error {
	return messages.Errorf(messages.CodeStaleAttempt, "attempt %s/%s#%d is not live and may spawn nothing", m.s.RunID, msg.Step, msg.Attempt)
}

// spawnable checks the spawn; it returns the earlier child of the key, if any.
func (m *Machine) spawnable(in Spawn) (*Child, error) {
	msg := in.Message
	st := m.s.Step(msg.Step)
	switch {
	case st == nil || st.Phase != Live || st.Attempt != msg.Attempt || st.Epoch != msg.Epoch:
		return nil, m.spawnsNothing(msg)
	case in.Err != nil:
		return nil, in.Err
	case msg.Sticky && in.Def.Sticky == messages.Sticky_STICKY_NONE:
		return nil, messages.Errorf(messages.CodeChildNotSticky, "workflow %q declares no sticky strategy, so its run cannot stick to worker %q", msg.Workflow, st.Worker.WorkerId)
	case msg.Sticky && !in.OnWorker:
		return nil, messages.Errorf(messages.CodeChildNotOnWorker, "workflow %q is not registered with all its steps on worker %q", msg.Workflow, st.Worker.WorkerId)
	}
	c := m.s.child(msg.Step, msg.Key)
	if c == nil {
		return nil, nil
	}
	return c, c.fits(msg)
}

// fits returns SPAWN_KEY_REUSED for a spawn of something else than the child. Of
// one without a hash it is not known what it was spawned with.
func (c *Child) fits(msg *messages.SpawnChild) error {
	hash := messages.HashInput(msg.Input)
	if c.Workflow == msg.Workflow && (c.InputHash == "" || c.InputHash == hash) {
		return nil
	}
	return messages.Errorf(messages.CodeSpawnKeyReused, "step %q has spawned workflow %q with the input of hash %s under key %q before, as run %s; it cannot spawn %q with the input of hash %s under the same key",
		msg.Step, c.Workflow, c.InputHash, msg.Key, c.RunID, msg.Workflow, hash)
}

// MayReplace is the child of an earlier try that a spawn gets another one for,
// should it have ended without success; empty for none. One of the same try stays:
// a spawn that is sent twice, or again after a suspension, gets what it got.
func (m *Machine) MayReplace(msg *messages.SpawnChild) string {
	c, st := m.s.child(msg.Step, msg.Key), m.s.Step(msg.Step)
	if !msg.Anew || c == nil || st == nil || c.attempt >= st.firstTry {
		return ""
	}
	return c.RunID
}

// onParentEnd is what a spawn says of the end of its parent.
func onParentEnd(msg *messages.SpawnChild) messages.ParentEnd {
	switch {
	case msg.OnParentEnd != messages.ParentEnd_PARENT_END_UNSPECIFIED:
		return msg.OnParentEnd
	case msg.KeepOnCancel:
		return messages.ParentEnd_PARENT_END_LEAVE
	}
	return messages.ParentEnd_PARENT_END_CANCEL
}

// childID is the id of a child that is spawned under a key, instead of another one
// if there is one. No key holds a zero byte.
func (m *Machine) childID(msg *messages.SpawnChild, instead *Child) string {
	key := msg.Key
	if instead != nil {
		key = strconv.Itoa(instead.try+1) + "\x00" + key
	}
	if m.s.Generation > 0 {
		key = strconv.Itoa(m.s.Generation) + "\x00\x00" + key
	}
	return messages.RunIDForChild(m.s.RunID, msg.Step, key)
}

// childStarted answers the spawns. A child that was started with another input
// is the one of an earlier attempt all the same: one that was canceled before its
// start came, or that a version without hashes of inputs recorded.
func (m *Machine) childStarted(in ChildStarted) {
	if messages.CodeOf(in.Err) == messages.CodeIdempotencyMismatch {
		in.Err = nil
	}
	for _, token := range m.children.started(in.ChildRun) {
		m.later(Reply{Token: token, ChildRun: in.ChildRun, Err: in.Err})
	}
}

func unknownRun(runID string) error {
	return messages.Errorf(messages.CodeUnknownRun, "there is no run %s", runID)
}

func statusWord(s messages.RunStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_"))
}
