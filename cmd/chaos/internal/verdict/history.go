package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// ending of an attempt.
type ending int

const (
	live ending = iota
	succeeded
	failed
	lost
	revoked
	canceled
	rebuilt
	suspended
)

var endingNames = [...]string{"live", "succeeded", "failed", "lost", "revoked", "canceled", "rebuilt", "suspended"}

func (e ending) String() string { return endingNames[e] }

// attempt is one attempt of a step, by the history.
type attempt struct {
	step       string
	number     int32
	generation int
	link       int // of the chain of a run that goes on as new, from 0
	worker     *messages.WorkerRef
	epoch      uint64
	at, endAt  time.Time
	ending     ending
	// reason of a loss, a revocation or a suspension.
	reason    messages.Reason
	failure   *messages.Failure
	abandoned bool
	output    []byte
	// rebuild says that it was sent for local state alone, stateLost that the
	// step said that its state is lost.
	rebuild, stateLost bool
	// spoilt says that state was found lost while it was live.
	spoilt bool
	// resumed says that a call of it came out while it was suspended, or that its run
	// was canceled.
	resumed bool
	// inputs are the executions whose outputs are recorded of its parents.
	inputs []string
	// progress is the serial of what is recorded of it last.
	progress int64
	// executions of it in the ledger.
	executions []*ledger.Execution
}

// binding is one binding, by the history.
type binding struct {
	*messages.Bound
	at         time.Time
	generation int
	lost       bool
	lostAt     time.Time
	lostReason messages.Reason
}

// generation is a run from its start, or a replay, to its end.
type generation struct {
	ended    bool
	endedAt  time.Time
	endEntry uint64
	status   messages.RunStatus
	failure  *messages.Failure
	canceled bool
	// outcome is what was decided before the end step; withoutEnd: there is to be none.
	outcome    *messages.RunEnding
	withoutEnd bool
}

// spawn is a child that a step spawned.
type spawn struct {
	*messages.ChildSpawned
	at         time.Time
	generation int
}

// phase of a step in the current generation.
type phase int

const (
	open phase = iota
	done
	broken
	// rebuilding: it has succeeded, and is executed again for its local state.
	rebuilding
)

// history is a run as its events tell it.
type history struct {
	*Run
	c       *checker
	started *messages.RunStarted
	at      time.Time

	generations []*generation
	attempts    []*attempt
	newest      map[string]*attempt
	byKey       map[attemptKey]*attempt
	phases      map[string]phase
	bindings    []*binding
	// current is the binding in force; nil before the first of a generation.
	current *binding
	spawns  []spawn
	// outputs recorded of steps: the executions that they come from.
	outputs map[string]string
	// handed is what was handed off at the end of an epoch.
	handed map[uint64]*messages.StateHandedOff
	// handing is what was handed off and has not arrived yet, given what each
	// epoch began with.
	handing *messages.StateHandedOff
	given   map[uint64]*messages.StateHandedOff
	// wants are the steps that found their state lost.
	wants map[string]bool
	// builtIn is the epoch in which a step has built its state.
	builtIn map[string]uint64
	// calls that are recorded since they were cleared last; taken are the messages
	// that were received, messages those that were sent, by id.
	calls map[callKey]*messages.CallRecorded
	// pending are the calls that wait, by the attempt that they are of.
	pending         map[callKey]int32
	taken, messages map[string]bool
	// streams are the newest sections, by stream.
	streams map[string]*messages.StreamOpened
	// links counts how often the run went on as new.
	links int
	// now is the entry that is being read.
	now Entry
	// executions of the run in the ledger, in the order of their beginning.
	executions []*ledger.Execution
	// values are the private local state of the run in the ledger, in the order
	// of their making.
	values []*ledger.Value
}

type attemptKey struct {
	step   string
	number int32
}

func (h *history) breaks(rule Rule, format string, args ...any) {
	h.c.breaks(rule, h.ID, format, args...)
}

func (h *history) generation() *generation { return h.generations[len(h.generations)-1] }

func (h *history) sticky() messages.Sticky { return h.started.GetSticky() }

// readHistory reads the events of a run in order and notes what cannot be; nil
// for a run without events.
func (c *checker) readHistory(r *Run) *history {
	h := &history{Run: r, c: c, newest: map[string]*attempt{}, byKey: map[attemptKey]*attempt{}, phases: map[string]phase{},
		outputs: map[string]string{}, handed: map[uint64]*messages.StateHandedOff{}, given: map[uint64]*messages.StateHandedOff{},
		wants: map[string]bool{}, builtIn: map[string]uint64{}, calls: map[callKey]*messages.CallRecorded{}, pending: map[callKey]int32{}, taken: map[string]bool{}, messages: map[string]bool{}}
	for i, e := range r.Entries {
		if e.Number != uint64(i)+1 {
			h.breaks(RuleHistory, "entry %d follows %d entries", e.Number, i)
		}
		h.now = e
		for j, ev := range e.Events {
			if first := i == 0 && j == 0; first != (ev.GetRunStarted() != nil) {
				h.breaks(RuleHistory, "entry %d: the run starts, and starts once, with its first event", e.Number)
				return nil
			}
			h.event(ev)
		}
	}
	if h.started == nil {
		return nil
	}
	h.row()
	return h
}

// row compares what the API tells of the run as it is with its history.
func (h *history) row() {
	status := messages.RunStatus_RUN_STATUS_RUNNING
	if g := h.generation(); g.ended {
		status = g.status
	}
	if h.Status != status {
		h.breaks(RuleHistory, "the row says %s, the history %s", h.Status, status)
	}
	epoch := uint64(0)
	if n := len(h.bindings); n > 0 {
		epoch = h.bindings[n-1].GetEpoch()
	}
	if h.Epoch != epoch {
		h.breaks(RuleHistory, "the row says epoch %d, the history %d", h.Epoch, epoch)
	}
}

func (h *history) event(ev *messages.Event) {
	if started := ev.GetRunStarted(); started != nil {
		h.started, h.at = started, h.now.At
		h.generations = []*generation{{}}
		return
	}
	if h.generation().ended && ev.GetResultRefused() == nil && ev.GetRunReplayed() == nil {
		h.breaks(RuleEndedTwice, "after its end as %s, entry %d says %v", h.generation().status, h.now.Number, ev)
	}
	h.apply(ev)
}

// apply is a list: one line for each kind of event.
//
//gocyclo:ignore
func (h *history) apply(ev *messages.Event) {
	switch k := ev.Kind.(type) {
	case *messages.Event_Bound:
		h.bound(k.Bound)
	case *messages.Event_BindingLost:
		h.bindingLost(k.BindingLost)
	case *messages.Event_BindingRestored:
		h.bindingRestored(k.BindingRestored)
	case *messages.Event_StepDispatched:
		h.dispatched(k.StepDispatched)
	case *messages.Event_StepStarted:
		h.stepStarted(k.StepStarted)
	case *messages.Event_StepProgressed:
		h.progressed(k.StepProgressed)
	case *messages.Event_StreamOpened:
		h.streamOpened(k.StreamOpened)
	case *messages.Event_StepSucceeded:
		h.stepSucceeded(k.StepSucceeded)
	case *messages.Event_AttemptFailed:
		h.attemptFailed(k.AttemptFailed)
	case *messages.Event_AttemptLost:
		h.attemptLost(k.AttemptLost)
	case *messages.Event_AttemptRevoked:
		h.withdrawn(k.AttemptRevoked.GetStep(), k.AttemptRevoked.GetAttempt(), revoked, k.AttemptRevoked.GetReason())
	case *messages.Event_RebuildBegan:
		h.rebuildBegan(k.RebuildBegan)
	case *messages.Event_StepRebuilt:
		h.rebuilt(k.StepRebuilt)
	case *messages.Event_StateHandedOff:
		h.handedOff(k.StateHandedOff)
	case *messages.Event_StepFailed:
		if f := k.StepFailed.GetFailure(); f.GetCode() == string(messages.CodeScheduleTimeout) {
			h.breaks(RuleTimedOut, "step %s: %s", k.StepFailed.GetStep(), f.GetMessage())
		}
		h.stepFailed(k.StepFailed.GetStep())
	case *messages.Event_StepSkipped:
		h.stepOver(k.StepSkipped.GetStep())
	case *messages.Event_StepCanceled:
		h.stepCanceled(k.StepCanceled.GetStep())
	case *messages.Event_ChildSpawned:
		h.spawned(k.ChildSpawned)
	case *messages.Event_CancelRequested:
		h.generation().canceled = true
		h.cleanUp()
		h.generation().withoutEnd = h.generation().withoutEnd || k.CancelRequested.GetWithoutEndStep()
	case *messages.Event_RunEnding:
		h.outcomeDecided(k.RunEnding)
	case *messages.Event_ResultRefused:
		h.refused(k.ResultRefused)
	case *messages.Event_RunDormant:
		h.c.report.Seen.Dormant++
	case *messages.Event_RunWoken, *messages.Event_NotOffered:
	case *messages.Event_CallWaits:
		h.callWaits(k.CallWaits)
	case *messages.Event_AttemptSuspended:
		h.suspended(k.AttemptSuspended)
	case *messages.Event_CallRecorded:
		h.callRecorded(k.CallRecorded)
	case *messages.Event_Signaled:
		h.signaled(k.Signaled)
	case *messages.Event_RunEnded:
		h.ended(k.RunEnded)
	case *messages.Event_RunReplayed:
		h.replayed(k.RunReplayed)
	case *messages.Event_RunContinued:
		h.continued(k.RunContinued)
	default:
		h.breaks(RuleHistory, "entry %d has an event that the checker does not know: %v", h.now.Number, ev)
	}
}

func (h *history) stepStarted(s *messages.StepStarted) {
	if a := h.byKey[attemptKey{s.GetStep(), s.GetAttempt()}]; a == nil || a.ending != live {
		h.breaks(RuleStaleAccepted, "%s#%d started, and is not live", s.GetStep(), s.GetAttempt())
	}
}

func (h *history) stepSucceeded(s *messages.StepSucceeded) {
	if a := h.result(s.GetStep(), s.GetAttempt(), succeeded); a != nil {
		h.succeeded(a, s.GetOutput())
	}
}

func (h *history) attemptLost(l *messages.AttemptLost) {
	h.withdrawn(l.GetStep(), l.GetAttempt(), lost, l.GetReason())
	h.stateLost(l)
	h.c.report.Seen.Lost++
}

func (h *history) attemptFailed(f *messages.AttemptFailed) {
	a := h.result(f.GetStep(), f.GetAttempt(), failed)
	if a == nil {
		return
	}
	a.failure, a.abandoned = f.GetFailure(), f.GetAbandoned()
	h.c.report.Seen.Retried++
	if f.GetFailure().GetCode() == string(messages.CodeExecutionTimeout) {
		h.c.report.Seen.TimedOut++
	}
}

// dispatched begins an attempt.
func (h *history) dispatched(d *messages.StepDispatched) {
	before := h.newest[d.GetStep()]
	number := int32(1)
	if before != nil {
		number = before.number + 1
	}
	if d.GetAttempt() != number {
		h.breaks(RuleAttempts, "%s#%d is dispatched, and the next is #%d", d.GetStep(), d.GetAttempt(), number)
	}
	if before != nil && before.ending == live {
		h.breaks(RuleAttempts, "%s#%d is dispatched while #%d is live", d.GetStep(), d.GetAttempt(), before.number)
	}
	if before != nil && before.ending == suspended && !before.resumed && before.generation == len(h.generations)-1 {
		h.breaks(RuleSuspended, "%s#%d is dispatched, and nothing has come that #%d waited for", d.GetStep(), d.GetAttempt(), before.number)
	}
	if p := h.phases[d.GetStep()]; p != open && p != rebuilding {
		h.breaks(RuleRepeated, "%s#%d is dispatched, and the step had ended", d.GetStep(), d.GetAttempt())
	}
	for _, parent := range h.Parents[d.GetStep()] {
		if p := h.phases[parent]; p != done && p != rebuilding {
			h.breaks(RuleHistory, "%s#%d is dispatched before its parent %s has succeeded", d.GetStep(), d.GetAttempt(), parent)
		}
	}
	h.dispatchedWhereBound(d)
	a := &attempt{
		step: d.GetStep(), number: d.GetAttempt(), generation: len(h.generations) - 1, link: h.links,
		worker: d.GetWorker(), epoch: d.GetEpoch(), at: h.now.At, rebuild: h.phases[d.GetStep()] == rebuilding,
	}
	for _, parent := range h.Parents[d.GetStep()] {
		a.inputs = append(a.inputs, h.outputs[parent])
	}
	h.attempts = append(h.attempts, a)
	h.newest[a.step], h.byKey[attemptKey{a.step, a.number}] = a, a
}

// result ends a live attempt with what its function returned; nil if there is
// no attempt.
func (h *history) result(step string, number int32, e ending) *attempt {
	a := h.byKey[attemptKey{step, number}]
	switch {
	case a == nil:
		h.breaks(RuleStaleAccepted, "%s#%d %s, and was never dispatched", step, number, e)
		return nil
	case a.rebuild && e == succeeded:
		h.breaks(RuleRecordedTwice, "%s#%d is recorded as a result, and is a rebuild", step, number)
	case a.ending == succeeded || a.ending == failed || a.ending == rebuilt, h.phases[step] == done:
		h.breaks(RuleRecordedTwice, "%s#%d %s, after it had %s", step, number, e, a.ending)
	case a.ending != live:
		h.breaks(RuleStaleAccepted, "%s#%d %s, after it was %s (%s)", step, number, e, a.ending, a.reason.Words())
	case a.epoch != 0 && (h.current == nil || h.current.GetEpoch() != a.epoch || h.current.lost && h.sticky() == messages.Sticky_STICKY_SOFT):
		h.breaks(RuleStaleAccepted, "%s#%d of epoch %d %s when the run was bound in epoch %d", step, number, a.epoch, e, h.epoch())
	}
	a.ending, a.endAt = e, h.now.At
	return a
}

// withdrawn ends a live attempt without a result.
func (h *history) withdrawn(step string, number int32, e ending, reason messages.Reason) {
	a := h.byKey[attemptKey{step, number}]
	if a == nil || a.ending != live {
		h.breaks(RuleAttempts, "%s#%d is %s (%s), and is not live", step, number, e, reason.Words())
		return
	}
	a.ending, a.endAt, a.reason = e, h.now.At, reason
}

func (h *history) stepFailed(step string) {
	if a := h.newest[step]; a != nil && !a.rebuild {
		h.arrived(a)
	}
	h.stepOver(step)
}

// stepOver ends a step without a result; a rebuild that ends so leaves the
// result that there is.
func (h *history) stepOver(step string) {
	if h.phases[step] == rebuilding {
		h.phases[step] = done
		return
	}
	if h.phases[step] != open {
		h.breaks(RuleRecordedTwice, "step %s ends, and had ended", step)
	}
	h.phases[step] = broken
}

func (h *history) stepCanceled(step string) {
	if !h.generation().canceled && h.phases[step] != rebuilding {
		h.breaks(RuleHistory, "step %s is canceled, and nobody canceled the run", step)
	}
	if a := h.newest[step]; a != nil && a.ending == live {
		a.ending, a.endAt = canceled, h.now.At
	}
	h.stepOver(step)
}

func (h *history) spawned(s *messages.ChildSpawned) {
	if a := h.byKey[attemptKey{s.GetStep(), s.GetAttempt()}]; a == nil || a.ending != live {
		h.breaks(RuleStaleAccepted, "%s#%d spawns %s, and is not live", s.GetStep(), s.GetAttempt(), s.GetChildRun())
	}
	for _, other := range h.spawns {
		same := other.generation == len(h.generations)-1 && other.GetStep() == s.GetStep() && other.GetKey() == s.GetKey()
		if same || other.GetChildRun() == s.GetChildRun() {
			h.breaks(RuleIdempotency, "%s spawns %s under key %q, and %s before", s.GetStep(), s.GetChildRun(), s.GetKey(), other.GetChildRun())
		}
	}
	h.spawns = append(h.spawns, spawn{ChildSpawned: s, at: h.now.At, generation: len(h.generations) - 1})
}

// refused keeps a late result: its attempt must be one whose result may be
// late.
func (h *history) refused(r *messages.ResultRefused) {
	h.c.report.Seen.Refused++
	a := h.byKey[attemptKey{r.GetStep(), r.GetAttempt()}]
	if a == nil || a.ending != lost && !a.abandoned {
		h.breaks(RuleAttempts, "the result of %s#%d is refused (%s), and the attempt was neither lost nor given up", r.GetStep(), r.GetAttempt(), r.Why())
	}
}

func (h *history) ended(e *messages.RunEnded) {
	g := h.generation()
	h.endStepOver(e)
	for _, a := range h.newest {
		if a.ending == live {
			h.breaks(RuleHistory, "the run ends while %s#%d is live", a.step, a.number)
		}
	}
	all, worst := true, false
	for step := range h.Parents {
		all = all && h.phases[step] == done
		worst = worst || h.phases[step] == broken
		if h.phases[step] == open {
			h.breaks(RuleHistory, "the run ends while step %s is open", step)
		}
	}
	switch status := e.GetStatus(); {
	case status == messages.RunStatus_RUN_STATUS_SUCCEEDED && !all:
		h.breaks(RuleHistory, "the run succeeds, and not all of its steps have")
	case status == messages.RunStatus_RUN_STATUS_FAILED && !worst:
		h.breaks(RuleHistory, "the run fails, and none of its steps has")
	case status == messages.RunStatus_RUN_STATUS_CANCELED && !g.canceled:
		h.breaks(RuleHistory, "the run ends as canceled, and nobody canceled it")
	}
	g.ended, g.endedAt, g.endEntry, g.status, g.failure = true, h.now.At, h.now.Number, e.GetStatus(), e.GetFailure()
}

// replayed begins a generation: the named steps and what descends from them
// are open again.
func (h *history) replayed(r *messages.RunReplayed) {
	if !h.generation().ended {
		h.breaks(RuleEndedTwice, "the run is replayed before it has ended")
	}
	h.c.report.Seen.Replayed++
	again := slices.Clone(r.GetSteps())
	for i := 0; i < len(again); i++ {
		for step, parents := range h.Parents {
			if slices.Contains(parents, again[i]) && !slices.Contains(again, step) {
				again = append(again, step)
			}
		}
	}
	if len(again) == 0 {
		clear(h.phases)
		clear(h.calls)
		clear(h.pending)
	}
	if h.EndStep != "" {
		again = append(again, h.EndStep)
	}
	for _, step := range again {
		delete(h.phases, step)
		maps.DeleteFunc(h.calls, func(k callKey, _ *messages.CallRecorded) bool { return k.step == step })
		maps.DeleteFunc(h.pending, func(k callKey, _ int32) bool { return k.step == step })
	}
	h.generations = append(h.generations, &generation{})
	h.current, h.handing = nil, nil
	clear(h.wants)
}
