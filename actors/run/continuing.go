package run

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// A run goes on as new when a step has asked for it, by a call that is recorded like any
// other, and has succeeded. That is not an end of the run:
//
//	what begins anew   All steps, with the new input; what was not begun, backs off or is
//	                   suspended is dropped. Attempts go on counting, and the limit on
//	                   them, and on calls, begins anew.
//	what stays         The binding with its epoch, so that the worker is not told and
//	                   keeps the local state; messages that were not received, in order;
//	                   the children, and what becomes of them at the end of the run;
//	                   who waits for the run; its id, and with it keys and parents.
//	when               At once if no other step is executed, else when none is: whatever
//	                   comes meanwhile is decided before or after, and does not hinder it.
//	a replay           that leaves the step which asked as it is executes the steps it
//	                   names first: so a sticky run goes on where these were.
//	a failed step      has the run fail, whatever another one asked for. A cancel wins, too.
//
// What earlier links were is cut from the journal: see carrying.go.
//
// The ids of messages are known for two links, unless they were not received: so one that
// is sent again just after the change-over is the same message.

// applyNext notes that a step which asked for it has succeeded.
func (s *State) applyNext(st *Step) {
	if st.next != nil {
		s.nextBy, _ = s.stepAt(st.Def.Name)
	}
}

// keepNext forgets what a step asked for that a replay begins again.
func (s *State) keepNext() {
	if s.nextBy != noStep && s.Steps[s.nextBy].Phase != Succeeded {
		s.nextBy = noStep
	}
}

// reruns says that a step which a replay named has not ended yet.
func (s *State) reruns() bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool { return st.rerun && !st.Phase.Ended() })
}

func (s *State) applyContinued(k *messages.RunContinued, at time.Time) {
	if s.Start == nil {
		s.restore(k.Carried)
	}
	if s.Continued == 0 {
		s.firstInput = s.Start.Input
	}
	s.Start = proto.Clone(s.Start).(*messages.RunStarted)
	s.Start.Input = k.Input
	for i := range s.Steps {
		s.Steps[i].reset(false)
	}
	s.Continued++
	s.ContinuedAt, s.nextBy, s.attempts = at, noStep, 0
	s.Generation++
	s.keepChildren()
	s.addLink(Link{Entry: s.Number + 1, At: at, Step: k.Step, carried: k.Carried != nil})
	s.signaled.turn(s.mailbox)
	s.readyRoots(at)
}

// startInput is the input that the run was started with: of the first link of its chain.
func (s *State) startInput() []byte {
	if s.Continued > 0 {
		return s.firstInput
	}
	return s.Start.Input
}

// sentIDs are hashes of messages by their id: of the present link, and of the one before.
type sentIDs struct{ now, before map[string]string }

func (ids *sentIDs) note(id, hash string) {
	if ids.now == nil {
		ids.now = map[string]string{}
	}
	ids.now[id] = hash
}

func (ids *sentIDs) of(id string) (hash string, ok bool) {
	if hash, ok = ids.now[id]; !ok {
		hash, ok = ids.before[id]
	}
	return hash, ok
}

// turn begins another link: what is older than the last one is forgotten, unless it is
// in the mailbox still.
func (ids *sentIDs) turn(mailbox map[string][]letter) {
	kept := ids.now
	for _, box := range mailbox {
		for _, l := range box {
			if hash, old := ids.before[l.id]; old {
				if kept == nil {
					kept = map[string]string{}
				}
				kept[l.id] = hash
			}
		}
	}
	ids.before, ids.now = kept, nil
}

// ---- deciding ------------------------------------------------------------------

// continues has the run go on as new, if that was asked for and can be now.
func (m *Machine) continues() bool {
	if m.s.nextBy == noStep || m.s.Ending != nil || m.anyLive() || m.s.failed() != nil || m.s.reruns() {
		return false
	}
	m.withdrawAll()
	by := &m.s.Steps[m.s.nextBy]
	m.emit(&messages.Event{Kind: &messages.Event_RunContinued{RunContinued: &messages.RunContinued{
		Step: by.Def.Name, Input: by.next, Carried: m.s.carried(by.Def.Name, m.turn.atOr(m.now))}}})
	m.turn.continued = true
	for i := range m.contacts {
		m.contacts[i] = contact{}
	}
	return true
}
