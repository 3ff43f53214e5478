package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// monitor sees everything and checks the promises. It knows what is durable.
type monitor struct {
	sim *Sim
	// runs are folded from what is durable.
	runs  map[string]*run.State
	order []string
	// dispatched names the process that each attempt was durably sent to, and
	// ran the one that executed it.
	dispatched map[string]dispatched
	ran        map[string]string
	// withdrawn attempts may not be executed any more.
	withdrawn map[string]bool
	// refused attempts: their late result is in the history.
	refused map[string]bool
	// gone holds processes that some roster declared gone.
	gone map[string]bool
	// touched is when a run's newest entry became durable.
	touched map[string]time.Time
	actors  map[string]*actor
	spawned map[string]*messages.ChildSpawned
	// outputs are recorded by run and step. saidLost are attempts that said that
	// their state is lost, lossRecorded the entry that says so, by its serial.
	outputs      map[string]string
	saidLost     map[string]bool
	lossRecorded map[string]int
	// suspects are attempts that were sent as such.
	suspects map[string]bool
	// calls are those on record, by run, step and key.
	calls map[string]madeCall
	// letters are the links in which messages were put on record, by run and id; posted
	// the ids of those that steps send; boxes those that no call has received, the oldest
	// first.
	letters map[string]int
	posted  map[string]bool
	boxes   map[string][]string
	// listeners are the events, and the calls that wait for one.
	listeners listeners
	// ends are of end steps, links of runs that go on as new.
	ends  ends
	links links
	// suspensions are of attempts that wait and were let go.
	suspensions suspensions
	// telling is what attempts tell and write, and who reads it.
	telling
	// lapsed are what functions return whose lease ended before.
	lapsed map[string]bool
	// handedUnder is the newest epoch of a run whose worker was asked for its
	// state, and lostIn the newest entry in which it was found lost.
	handedUnder map[string]uint64
	lostIn      map[string]int
	// absences are the times without any server, awaySince begins the present one.
	absences  []run.Absence
	awaySince time.Time
	// Counted for the report: what the seed exercised.
	counts counts
}

type dispatched struct {
	worker *messages.WorkerRef
	epoch  uint64
	// entry is its serial among all.
	entry int
}

func newMonitor(s *Sim) *monitor {
	return &monitor{sim: s, runs: map[string]*run.State{}, dispatched: map[string]dispatched{}, ran: map[string]string{},
		withdrawn: map[string]bool{}, refused: map[string]bool{}, gone: map[string]bool{}, touched: map[string]time.Time{}, actors: map[string]*actor{}, spawned: map[string]*messages.ChildSpawned{},
		outputs: map[string]string{}, saidLost: map[string]bool{}, suspects: map[string]bool{}, lossRecorded: map[string]int{},
		lapsed: map[string]bool{}, telling: newTelling(), handedUnder: map[string]uint64{}, lostIn: map[string]int{}, ends: ends{}, links: links{map[string]bool{}, map[string]uint64{}},
		calls: map[string]madeCall{}, letters: map[string]int{}, posted: map[string]bool{}, boxes: map[string][]string{}, listeners: listeners{waits: map[string]*listener{}}, suspensions: newSuspensions()}
}

func (s *Sim) ended(runID string) bool {
	st := s.monitor.runs[runID]
	return st != nil && st.Ended()
}

// committed folds an entry that became durable and checks what it says.
func (m *monitor) committed(runID string, data []byte) {
	e, err := run.DecodeEntry(data)
	if err != nil {
		m.sim.fail("run %s: %v", runID, err)
		return
	}
	st := m.runs[runID]
	if st == nil {
		def := m.sim.work.byHash[e.Events[0].GetRunStarted().GetDefinitionHash()]
		st = run.NewState(runID, def.Def)
		m.runs[runID] = st
		m.order = append(m.order, runID)
		m.counts.Runs++
	}
	m.sim.tracef("durable: %s %d", runID, st.Number+1)
	m.counts.Entries++
	m.touched[runID] = m.sim.now
	if at := time.UnixMicro(e.AtUs); at.Before(st.At) {
		m.sim.fail("run %s, entry %d is of %v, the one before of %v", runID, st.Number+1, at, st.At)
	}
	before := st.Clone()
	if err := st.ApplyChecked(e); err != nil {
		m.sim.fail("%v", err)
		return
	}
	m.timesPassed(before, st)
	for _, ev := range e.Events {
		if err := m.event(before, st, ev); err != nil {
			m.sim.fail("run %s, entry %d: %v", runID, st.Number, err)
		}
	}
	if err := m.decided(st); err != nil {
		m.sim.fail("run %s, entry %d: %v", runID, st.Number, err)
	}
}

func (m *monitor) event(before, after *run.State, ev *messages.Event) error {
	switch k := ev.Kind.(type) {
	case *messages.Event_Bound:
		m.counts.Rebinds += min(1, int(k.Bound.Epoch-1))
		return m.bound(before, after, k.Bound)
	case *messages.Event_RunContinued:
		m.callsCleared(after)
	case *messages.Event_RunEnded:
		return errors.Join(m.unread(after, k.RunEnded), m.endStepOver(after), m.partedWithChildren(after))
	case *messages.Event_StepFailed:
		return m.stepFailed(before, after, k.StepFailed)
	case *messages.Event_NotOffered:
		m.counts.NotOffered++
	case *messages.Event_RunReplayed:
		m.counts.Replays++
		m.callsCleared(after)
	case *messages.Event_RunDormant:
		m.counts.Dormant++
	case *messages.Event_ChildSpawned:
		m.counts.Children++
		key := fmt.Sprintf("%s/%s/%d/%s", after.RunID, k.ChildSpawned.Step, after.Generation, k.ChildSpawned.Key)
		if err := m.spawnedAgain(m.spawned[key], k.ChildSpawned); err != nil {
			return fmt.Errorf("spawn %s: %w", key, err)
		}
		m.spawned[key] = k.ChildSpawned
	case *messages.Event_Signaled:
		return m.signaled(after, k.Signaled)
	case *messages.Event_CallRecorded:
		return m.callRecorded(after, k.CallRecorded)
	default:
		return m.attemptEvent(after, ev)
	}
	return nil
}

func (m *monitor) stepFailed(before, after *run.State, f *messages.StepFailed) error {
	m.endStepEnded(after, f.Step)
	if isScheduleTimeout(f.Failure) && before.Step(f.Step).Rebuild == nil && after.Step(f.Step).Failure == f.Failure {
		return m.timedOut(before, f.Step)
	}
	return nil
}

func (m *monitor) attemptEvent(after *run.State, ev *messages.Event) error {
	switch k := ev.Kind.(type) {
	case *messages.Event_StepDispatched:
		d := k.StepDispatched
		m.dispatched[attemptKey(after.RunID, d.Step, d.Attempt)] = dispatched{d.Worker, d.Epoch, m.counts.Entries}
		return m.hasRoom(after, d.Worker)
	case *messages.Event_StepSucceeded:
		m.endStepEnded(after, k.StepSucceeded.Step)
		m.outputs[after.RunID+"/"+k.StepSucceeded.Step] = string(k.StepSucceeded.Output)
		if err := m.allCalls(after, k.StepSucceeded.Step); err != nil {
			return err
		}
		return errors.Join(m.succeeded(after.RunID, k.StepSucceeded), m.wroteAll(after.RunID, k.StepSucceeded))
	case *messages.Event_AttemptLost:
		m.counts.Lost++
		if k.AttemptLost.Reason == messages.Reason_REASON_UNKNOWN_TO_WORKER {
			m.withdrawn[attemptKey(after.RunID, k.AttemptLost.Step, k.AttemptLost.Attempt)] = true
		}
		return m.lost(after, k.AttemptLost)
	case *messages.Event_AttemptRevoked:
		m.withdrawn[attemptKey(after.RunID, k.AttemptRevoked.Step, k.AttemptRevoked.Attempt)] = true
	case *messages.Event_AttemptFailed:
		if m.sim.world.calm && k.AttemptFailed.Abandoned {
			return fmt.Errorf("attempt %s#%d was given up, and nothing happened but that servers crashed", k.AttemptFailed.Step, k.AttemptFailed.Attempt)
		}
		return m.toldLast(after, k.AttemptFailed)
	case *messages.Event_ResultRefused:
		m.counts.Refused++
		m.refused[attemptKey(after.RunID, k.ResultRefused.Step, k.ResultRefused.Attempt)] = true
	default:
		return m.local(after, ev)
	}
	return nil
}

// whyMove are the reasons for which a SOFT run may move.
var whyMove = []messages.Reason{
	messages.Reason_REASON_WORKER_LOST, messages.Reason_REASON_WORKER_LEFT, messages.Reason_REASON_WORKER_SUPERSEDED,
	messages.Reason_REASON_WORKER_RESTARTED, messages.Reason_REASON_STEP_GONE, messages.Reason_REASON_WORKER_DRAINING,
	messages.Reason_REASON_WORKER_BUSY, messages.Reason_REASON_SLOTS_HELD,
}

// bound checks that a binding has a reason that its strategy allows, and that
// the reason is true.
func (m *monitor) bound(before, st *run.State, b *messages.Bound) error {
	if b.FromWorker == "" {
		if b.Reason != messages.Reason_REASON_FIRST && b.Reason != messages.Reason_REASON_CHILD && b.Reason != messages.Reason_REASON_REPLAYED {
			return fmt.Errorf("bound for the first time because of %q", b.Reason.Words())
		}
		return nil
	}
	if b.Reason == messages.Reason_REASON_IDLE {
		return m.boundAnew(before, st, b)
	}
	from := &messages.WorkerRef{WorkerId: b.FromWorker, Incarnation: b.FromIncarnation}
	if st.Def.Sticky == messages.Sticky_STICKY_HARD {
		if b.FromWorker != b.Worker.WorkerId || b.Reason != messages.Reason_REASON_WORKER_RESTARTED {
			return fmt.Errorf("HARD run went from %s to %s: %s", b.FromWorker, b.Worker.WorkerId, b.Reason.Words())
		}
		return nil
	}
	m.counts.Moves++
	return m.softMoved(before, st, b, from)
}

// softMoved checks that a SOFT run left a worker for a reason that is true.
func (m *monitor) softMoved(before, st *run.State, b *messages.Bound, from *messages.WorkerRef) error {
	if !slices.Contains(whyMove, b.Reason) {
		return fmt.Errorf("SOFT run moved because of %q", b.Reason.Words())
	}
	w := m.sim.workerOf(from)
	switch b.Reason {
	case messages.Reason_REASON_STEP_GONE:
		// Or the process that took its place lacks them.
		if w.hasAll(st.Def) && !m.wentAway(from) {
			return fmt.Errorf("moved from %s, which has its steps", processKey(from))
		}
	case messages.Reason_REASON_WORKER_DRAINING:
		if !w.drained {
			return fmt.Errorf("moved from %s, which does not drain", processKey(from))
		}
		return m.moved(before, b, st.Binding.Since)
	case messages.Reason_REASON_WORKER_BUSY:
		return m.moved(before, b, st.Binding.Since)
	case messages.Reason_REASON_SLOTS_HELD:
		return errors.Join(m.leftHeld(w), m.moved(before, b, st.Binding.Since))
	default:
		if !m.wentAway(from) {
			return fmt.Errorf("moved from %s because of %q, but nobody declared it gone", processKey(from), b.Reason.Words())
		}
	}
	return nil
}

// wentAway says that a process is not there or was declared not to be.
func (m *monitor) wentAway(ref *messages.WorkerRef) bool {
	w := m.sim.workerOf(ref)
	return m.gone[processKey(ref)] || w == nil || !w.alive || m.sim.admitted[w.id] > w.incarnation
}

func (m *monitor) declaredGone(ref *messages.WorkerRef) {
	m.gone[processKey(ref)] = true
}

// succeeded checks that what a step recorded is what its attempt returned.
func (m *monitor) succeeded(runID string, ev *messages.StepSucceeded) error {
	key := attemptKey(runID, ev.Step, ev.Attempt)
	by := m.dispatched[key]
	if want := key + "@" + by.worker.GetAddress(); string(ev.Output) != want {
		return fmt.Errorf("attempt %s recorded %q, it should be %q", key, ev.Output, want)
	}
	if m.lapsed[string(ev.Output)] {
		return fmt.Errorf("attempt %s has the result of a function that returned after its lease had ended", key)
	}
	if m.ran[key] == "" {
		return fmt.Errorf("attempt %s has a result and was never executed", key)
	}
	return nil
}

// lost checks that an attempt is given up only with its process. It is a list: one
// case for each cause.
//
//gocyclo:ignore
func (m *monitor) lost(st *run.State, ev *messages.AttemptLost) error {
	key := attemptKey(st.RunID, ev.Step, ev.Attempt)
	by := m.dispatched[key]
	w := m.sim.workerOf(by.worker)
	if m.suspects[key] && !ev.Started {
		m.counts.Spared++
	}
	switch {
	case m.suspects[key] && ev.Started && m.ran[key] == "":
		return fmt.Errorf("suspect %s is charged for the loss of %s, where it had not begun", key, processKey(by.worker))
	case st.Cancel != nil, carriedOut(st, ev.Step):
	case ev.Reason == messages.Reason_REASON_STATE_LOST:
		m.counts.StateLost++
		m.lossRecorded[key], m.lostIn[st.RunID] = m.counts.Entries, m.counts.Entries
		if !m.saidLost[key] {
			return fmt.Errorf("attempt %s did not say that its state is lost", key)
		}
	case m.sim.world.calm && ev.Reason == messages.Reason_REASON_LEASE_EXPIRED && m.counts.Lapses > 0:
		// Two servers of two that die one soon after the other leave workers
		// without leases for a moment.
	case m.sim.world.calm:
		return fmt.Errorf("attempt %s#%d was lost (%s), and nothing happened but that servers crashed", ev.Step, ev.Attempt, ev.Reason.Words())
	case m.wentAway(by.worker):
	case ev.Reason == messages.Reason_REASON_STEP_GONE && !w.hasAll(st.Def):
	case ev.Reason == messages.Reason_REASON_LEASE_EXPIRED && w.lapsed:
	case ev.Reason == messages.Reason_REASON_CANCELED_BY_WORKER && w.drained:
		// The deadline of its drain had passed.
	default:
		return fmt.Errorf("attempt %s#%d was lost (%s), but its worker %s is there", ev.Step, ev.Attempt, ev.Reason.Words(), processKey(by.worker))
	}
	return nil
}

// sent checks that what goes to a worker has its cause on disk.
func (m *monitor) sent(to *messages.WorkerRef, msg proto.Message) error {
	switch msg := msg.(type) {
	case *messages.Dispatch:
		return m.dispatches(to, msg)
	case *messages.HandOff:
		return m.asksHandOff(to, msg)
	case *messages.ResultAck:
		return m.acks(msg)
	case *messages.RunReleased:
		st := m.runs[msg.RunId]
		if b := st.Binding; !st.Ended() && !b.Lost && b.Worker != nil && processKey(b.Worker) == processKey(to) && b.Epoch <= msg.Epoch {
			return fmt.Errorf("run %s is released from %s, which it is bound to", msg.RunId, processKey(to))
		}
	case *messages.CancelAttempt:
		st := m.runs[msg.RunId]
		if step := st.Step(msg.Step); st.Cancel == nil && step.Phase == run.Live && step.Attempt == msg.Attempt {
			return fmt.Errorf("attempt %s#%d is canceled and still wanted", msg.Step, msg.Attempt)
		}
	}
	return nil
}

// dispatches checks that an attempt is sent as the journal has it.
func (m *monitor) dispatches(to *messages.WorkerRef, msg *messages.Dispatch) error {
	key := attemptKey(msg.RunId, msg.Step, msg.Attempt)
	d, ok := m.dispatched[key]
	if !ok {
		return fmt.Errorf("attempt %s is sent before it is durable", key)
	}
	if processKey(d.worker) != processKey(to) || d.epoch != msg.Epoch {
		return fmt.Errorf("attempt %s goes to %s under epoch %d, durable are %s and %d", key, processKey(to), msg.Epoch, processKey(d.worker), d.epoch)
	}
	if msg.Suspect && !m.suspects[key] {
		m.suspects[key] = true
		m.counts.Suspects++
	}
	if msg.InputShared && !m.sim.byRef[processKey(to)].info.SharesInputs {
		return fmt.Errorf("attempt %s goes without its input to %s, which does not understand that", key, processKey(to))
	}
	return nil
}

// acks checks that a worker may forget a result.
func (m *monitor) acks(msg *messages.ResultAck) error {
	st := m.runs[msg.RunId]
	if st == nil {
		return nil
	}
	key := attemptKey(msg.RunId, msg.Step, msg.Attempt)
	step := st.Step(msg.Step)
	switch {
	case step.Attempt < msg.Attempt && !m.refused[key]:
		return fmt.Errorf("result of %s is acknowledged, newest durable attempt is %d", key, step.Attempt)
	case step.Attempt == msg.Attempt && step.Phase == run.Live:
		return fmt.Errorf("result of %s is acknowledged before it is recorded", key)
	}
	return nil
}

// executed checks the execution of a function.
func (m *monitor) executed(w *worker, d *messages.Dispatch) error {
	m.counts.Executed++
	key := attemptKey(d.RunId, d.Step, d.Attempt)
	by, ok := m.dispatched[key]
	switch {
	case !ok:
		return fmt.Errorf("%s runs %s, which is not durable", w.address, key)
	case processKey(by.worker) != processKey(w.ref()):
		return fmt.Errorf("%s runs %s, which was sent to %s", w.address, key, processKey(by.worker))
	case m.withdrawn[key]:
		return fmt.Errorf("%s runs %s, which was withdrawn", w.address, key)
	case m.ran[key] != "":
		return fmt.Errorf("%s runs %s again, %s did before", w.address, key, m.ran[key])
	}
	m.ran[key] = w.address
	if string(d.Input) != "1" {
		return fmt.Errorf("%s runs %s with the input %q", w.address, key, d.Input)
	}
	st := m.runs[d.RunId]
	if step := st.Step(d.Step); st.Def.Sticky == messages.Sticky_STICKY_HARD && step.Phase == run.Live && step.Attempt == d.Attempt &&
		st.Binding.Worker.WorkerId != w.id {
		return fmt.Errorf("HARD run %s is bound to %s and runs on %s", d.RunId, st.Binding.Worker.WorkerId, w.id)
	}
	running := 0
	for _, f := range w.functions {
		if !f.waiting {
			running++
		}
	}
	// One that returns from its wait gets its slot before it goes on.
	if running > int(w.info.Slots) {
		return fmt.Errorf("%s runs %d functions on %d slots", w.address, running, w.info.Slots)
	}
	return nil
}

// acknowledged checks that a run that a client was told about is stored.
func (m *monitor) acknowledged(runID string) error {
	if m.runs[runID] == nil {
		return fmt.Errorf("run %s is acknowledged and not durable", runID)
	}
	return nil
}

// spawnRefused checks that an attempt which is wanted may spawn.
func (m *monitor) spawnRefused(f *function, err error) error {
	st := m.runs[f.d.RunId]
	if step := st.Step(f.d.Step); messages.CodeOf(err) == messages.CodeStaleAttempt && step.Phase == run.Live && step.Attempt == f.d.Attempt && st.Cancel == nil {
		return fmt.Errorf("%s is live and may not spawn: %w", f.key(), err)
	}
	return nil
}

// spawnedAgain checks that a key has one child, or one for each attempt after the
// earlier one had failed.
func (m *monitor) spawnedAgain(had, now *messages.ChildSpawned) error {
	if had == nil {
		return nil
	}
	earlier := m.runs[had.ChildRun]
	switch {
	case now.InsteadOf != had.ChildRun || now.ChildRun == had.ChildRun:
		return fmt.Errorf("made %s before, now %s", had.ChildRun, now.ChildRun)
	case now.Attempt <= had.Attempt:
		return fmt.Errorf("attempt %d made %s, attempt %d makes %s", had.Attempt, had.ChildRun, now.Attempt, now.ChildRun)
	case earlier == nil || !earlier.Ended() || earlier.Status == messages.RunStatus_RUN_STATUS_SUCCEEDED:
		return fmt.Errorf("%s takes the place of %s, which has not failed", now.ChildRun, had.ChildRun)
	}
	m.counts.ChildrenAnew++
	return nil
}

// partedWithChildren checks that a run that ends, whatever ended it, takes its
// children along, those too whose start may be under way still. One that was
// replayed after it had ended goes on by whoever asked for that.
func (m *monitor) partedWithChildren(st *run.State) error {
	for _, c := range st.Children {
		child := m.runs[c.RunID]
		if st.Cancel == nil && child != nil && child.Cancel != nil && !child.Ended() {
			m.counts.ChildrenParted++
		}
		if c.OnParentEnd != messages.ParentEnd_PARENT_END_LEAVE && (child == nil || !child.Ended() && child.Cancel == nil && child.Ending == nil && child.Generation == 0) {
			return fmt.Errorf("it has ended, and child %s goes on, or may begin", c.RunID)
		}
		if c.OnParentEnd == messages.ParentEnd_PARENT_END_LEAVE && child != nil && strings.HasPrefix(child.Cancel.GetReason(), "parent run") {
			return fmt.Errorf("child %s is left to itself, and is canceled", c.RunID)
		}
	}
	return nil
}

// childSpawned checks what a spawn returned.
func (m *monitor) childSpawned(f *function, c child, id string) error {
	st := m.runs[id]
	if st == nil {
		return fmt.Errorf("child %s is not durable", id)
	}
	if !strings.HasPrefix(id, f.d.RunId+".") {
		return fmt.Errorf("child %s of %s", id, f.d.RunId)
	}
	switch {
	case c.sticky && st.Def.Sticky == messages.Sticky_STICKY_NONE:
		return fmt.Errorf("sticky child %s has no strategy", id)
	case c.sticky && st.Start.BindTo.GetWorkerId() == "" && st.Cancel == nil:
		return fmt.Errorf("sticky child %s is not bound to its parent's worker", id)
	case !c.sticky && st.Start.BindTo != nil:
		return fmt.Errorf("plain child %s is bound to %s", id, st.Start.BindTo.WorkerId)
	}
	return nil
}
