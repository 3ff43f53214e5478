package run

import (
	"strconv"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// A line is the runs that wait for the same: for a worker that has the same steps
// of the same definition, under the same priority. So many may wait that only the
// first of each line ask placement. The others are parked: they wait in the
// journal until it is their turn. Who says whose turn it is keeps the lines:
// package activation.

// lining is how the activation stands to the line of its run.
type lining struct {
	// told is the line that the keeper of lines knows the run to ask in; 0 for
	// none, unsure if it has to be told in any case.
	told int64
	// parked is the line in which the run waits for its turn, and does not ask; 0
	// for none.
	parked int64
	// leaves: it was told so just now, and leaves memory at once.
	leaves bool
}

// unsure is no line.
const unsure = -1

// lineName names a line by what those in it wait for, as it is added. It is FNV-1a.
type lineName uint64

// lineOf begins with what each line has.
func lineOf(hash string, priority int32) lineName {
	return lineName(14695981039346656037).with(hash).with(strconv.Itoa(int(priority)))
}

func (h lineName) with(s string) lineName {
	for i := range len(s) {
		h = (h ^ lineName(s[i])) * 1099511628211
	}
	return (h ^ 0xff) * 1099511628211
}

// line is not 0, and not unsure.
func (h lineName) line() int64 {
	if line := int64(h); line != 0 && line != unsure {
		return line
	}
	return 1
}

// LineOf is the line that a run stands in when it has just been started; 0 if it
// is not to be placed.
func LineOf(def *messages.WorkflowDefinition, start *messages.RunStarted) int64 {
	name := lineOf(start.DefinitionHash, messages.EffectivePriority(start.Priority, def.Priority))
	switch {
	case start.BindTo != nil && def.Sticky != messages.Sticky_STICKY_NONE:
		return 0
	case def.Sticky != messages.Sticky_STICKY_NONE:
		return name.line()
	}
	for _, st := range def.Steps {
		if st.IsRoot() {
			name = name.with(st.Name)
		}
	}
	return name.line()
}

// StartParked makes the first entry of a run that waits in the journal from its
// start on, and of the run what its row shows. Many are started at once, and what
// they are in memory is of no use until their turn has come: so no machine is made.
func StartParked(runID string, def *messages.WorkflowDefinition, started *messages.RunStarted, now time.Time) (*State, *messages.Entry) {
	at := time.UnixMicro(now.UnixMicro())
	d := &messages.RunDormant{Line: LineOf(def, started), LineSinceUs: at.UnixMicro()}
	var deadline earliest
	for _, st := range def.Steps {
		if timeout, ok := st.ScheduleTimeout(); ok && st.IsRoot() {
			deadline.add(at.Add(timeout))
		}
	}
	if !deadline.at.IsZero() {
		d.WakeAtUs = deadline.at.UnixMicro()
	}
	s := &State{RunID: runID, Number: 1, At: at, Def: def, Start: started, Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: at, Dormant: d}
	return s, &messages.Entry{AtUs: at.UnixMicro(), Events: []*messages.Event{
		{Kind: &messages.Event_RunStarted{RunStarted: started}}, {Kind: &messages.Event_RunDormant{RunDormant: d}}}}
}

// line is the line of a run that waits for nothing but placement; 0 for none.
func (m *Machine) line() int64 {
	b := m.s.Binding
	switch _, any := m.readySince(); {
	case !any, m.s.Cancel != nil, m.leaving.under(), m.children.anyStarting(), m.children.parting, m.anyLive():
		return 0
	case m.s.isSticky() && (b.Worker != nil && !(b.Lost && m.s.soft()) || b.Worker == nil && m.s.Generation == 0 && m.s.Start.BindTo != nil):
		return 0
	}
	name := lineOf(m.s.Start.DefinitionHash, messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority))
	if m.s.isSticky() {
		return name.line()
	}
	for i := range m.s.Steps {
		if m.ready(&m.s.Steps[i]) {
			name = name.with(m.s.Steps[i].Def.Name)
		}
	}
	return name.line()
}

// park has the run wait for its turn in the journal. One that was granted a worker
// meanwhile does not.
func (m *Machine) park() {
	if m.questions.granted() {
		return
	}
	if m.lining = (lining{parked: m.line()}); m.lining.parked != 0 {
		m.lining.leaves = true
		m.withdrawAll()
	}
}

// isParked says that the run waits for its turn. What is ready may change
// meanwhile; then it stands in another line, in which nobody has parked it.
func (m *Machine) isParked() bool {
	if m.lining.parked != 0 && m.lining.parked != m.line() {
		m.lining.parked = 0
	}
	return m.lining.parked != 0
}

// inLine is the line that the run asks in; 0 while it does not wait.
func (m *Machine) inLine() int64 {
	if m.s.Start == nil || m.s.Ended() || m.lining.parked != 0 || !m.questions.wait() {
		return 0
	}
	return m.line()
}

// tellLine tells the keeper of the lines if the run has come to another one, or
// waits no longer.
func (m *Machine) tellLine() {
	if line := m.inLine(); line != m.lining.told {
		m.lining.told = line
		m.do(InLine{line, len(m.s.Start.GetInput())})
	}
}
