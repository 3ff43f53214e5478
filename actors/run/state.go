package run

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Phase of a step.
type Phase uint8

// A step waits for its parents, is ready (or backs off before a retry), has a
// live attempt, or one that waits and was let go, and ends in one of the last four.
const (
	Waiting Phase = iota
	Ready
	Backoff
	Live
	Suspended
	Succeeded
	Failed
	Skipped
	Canceled
)

var phaseNames = [...]string{"waiting", "ready", "backoff", "live", "suspended", "succeeded", "failed", "skipped", "canceled"}

func (p Phase) String() string { return phaseNames[p] }

// Ended says that no attempt of the step will follow.
func (p Phase) Ended() bool { return p >= Succeeded }

// Step is the state of one step. Small fields stand together: the servers have many.
type Step struct {
	Def   *messages.StepDefinition
	Phase Phase
	// StartRecorded: the history tells of its start, not only of its end.
	StartRecorded bool
	// wantsState: the step once found its state lost, so that it counts as one
	// that needs it. spoilt: state was lost while the attempt was live, perhaps
	// what it had built by then.
	wantsState, spoilt bool
	// NotOffered: it is on record that nobody offers what the step waits for.
	NotOffered bool
	// rerun: a replay named the step, so that its run does not go on as new before it
	// has ended.
	rerun bool
	// SuspendReason, SuspendedAt and suspendedEpoch are of the newest suspension.
	SuspendReason messages.Reason

	parents []int
	// children are the steps that have this one as a parent.
	children []int

	// Attempt is the number of the newest attempt; attempts count from 1.
	Attempt int32
	// firstTry is the first attempt since the step began, failed or was lost. Those
	// that go on after a suspension belong to one try.
	firstTry int32
	// Failures charged to the retries; Lost attempts that had started, Downs those
	// of them whose worker's process was lost.
	Failures, Lost, Downs int32
	// ReadyAt starts the schedule timeout. RetryAt ends a Backoff.
	ReadyAt, RetryAt time.Time
	// Worker and Epoch of the newest attempt; epoch 0 if that has not done its work there.
	Worker *messages.WorkerRef
	Epoch  uint64
	// StartedAt is zero until the start is known.
	DispatchedAt, StartedAt, EndedAt time.Time
	// Waited is how long the newest attempt waited from ready to started, Queued
	// the part of it after it was sent; zero until the start is known.
	Waited, Queued time.Duration
	Output         []byte
	Failure        *messages.Failure
	SkipReason     string
	// Rebuild is set while the step, which had succeeded, is executed again for
	// the local state that it builds.
	Rebuild *Rebuild
	// BuiltEpoch is the newest epoch under which the step succeeded or was
	// rebuilt, and its local state is there; 0 for none.
	BuiltEpoch uint64
	// calls are those that are recorded, as long as another execution of the step
	// may ask for them; recorded counts them, and lastCall is the newest.
	calls    map[callKey]recordedCall
	recorded int
	lastCall string
	// waits are the calls that wait.
	waits map[callKey]callWait
	// Progress is the newest that is recorded; nil for none.
	Progress       *Progress
	SuspendedAt    time.Time
	suspendedEpoch uint64
	// next is the input with which the run is to go on as new, should the step succeed;
	// nil for none.
	next []byte
	// lost holds numbers of attempts whose late result is still to be refused.
	lost []int32
	// WasLive is the newest attempt as it was before the last event about its step,
	// while it was live. Of a run that is not traced it is nil.
	WasLive *LiveAttempt
}

// LiveAttempt is an attempt before an entry said something of it.
type LiveAttempt struct {
	// Entry is the number of that entry.
	Entry  uint64
	Number int32
	Worker *messages.WorkerRef
	Epoch  uint64
	// StartedAt is zero until the start is known.
	DispatchedAt, StartedAt time.Time
}

// noteLive keeps what a live attempt is before the next event about it.
func (s *State) noteLive(st *Step) {
	if s.Start.GetTraceparent() != "" && st.Phase == Live {
		st.WasLive = &LiveAttempt{s.Number + 1, st.Attempt, st.Worker, st.Epoch, st.DispatchedAt, st.StartedAt}
	}
}

// Binding says which worker a sticky run is stuck to. The zero value is no
// binding.
type Binding struct {
	Worker *messages.WorkerRef
	Epoch  uint64
	Reason messages.Reason
	Since  time.Time
	// Lost: the worker cannot be used; LostReason says why, LostAt since when.
	Lost       bool
	LostReason messages.Reason
	LostAt     time.Time
	// Away is how long the run had no worker that could be used, until this
	// binding or until it was restored; zero if it had one.
	Away time.Duration
}

// Child is a run that a step spawned.
type Child struct {
	Step, Key, RunID, Workflow string
	DefinitionHash, InputHash  string
	Sticky                     bool
	// OnParentEnd is what becomes of it at the end of the run; KeepOnCancel is of
	// versions that did not say.
	OnParentEnd  messages.ParentEnd
	KeepOnCancel bool
	// ended: a call had its end.
	ended bool
	// attempt is the one that spawned it, try its number among those of its key,
	// from 0.
	attempt int32
	try     int
}

func (c *Child) runID() string {
	if c == nil {
		return ""
	}
	return c.RunID
}

// State is a run, folded from its entries. Small fields stand together, as in Step.
type State struct {
	RunID string
	// Number of the newest entry, and the latest time of all.
	Number uint64
	At     time.Time
	Def    *messages.WorkflowDefinition
	Start  *messages.RunStarted
	Status messages.RunStatus
	// StateLost: a step found the local state of the epoch gone, and none has
	// ended since.
	StateLost bool
	// awaitsEvents: a call has waited for an event.
	awaitsEvents bool
	Failure      *messages.Failure
	// Ending is the outcome for which the end step is executed, or was; nil if none is
	// decided.
	Ending *messages.RunEnding
	// Cancel is set from the request on, until the end step begins.
	Cancel                *messages.CancelRequested
	CancelAt              time.Time
	CreatedAt, FinishedAt time.Time
	// ReplayedAt is the time of the last replay; zero for none.
	ReplayedAt time.Time
	Binding    Binding
	// Epoch is the newest that was used.
	Epoch    uint64
	Steps    []Step
	Children []Child
	// Dormant holds what wakes the run; nil when it is not dormant.
	Dormant *messages.RunDormant
	// Generation counts replays and links; replays holds the requests that asked for them.
	Generation int
	replays    []string
	// Continued counts how often the run went on as new, ContinuedAt is when it last
	// did. firstInput is that of its start, if Start is of a later link; nextBy the
	// step that has it go on as new, or noStep.
	Continued   int
	ContinuedAt time.Time
	firstInput  []byte
	nextBy      int
	// links are the newest links after the first one, the present one last.
	links []Link
	// WorkedEpoch is the newest epoch under which a step ended: local state of
	// a later epoch is new to the run.
	WorkedEpoch  uint64
	workedWorker string
	// Handed is what the worker of an earlier epoch gave away, until a step has
	// ended under a later one; nil if there is nothing.
	Handed *messages.StateHandedOff

	// mailbox has the messages that were not received, by name, the oldest first;
	// unread counts them. signaled has hashes of those that came, by their ids.
	mailbox  map[string][]letter
	unread   int
	signaled sentIDs
	// Streams that steps have written to, in the order in which they began.
	// streamChanges are those since the last entry.
	Streams       []Stream
	streamChanges []StreamChange
	// waitTurns counts the waits of calls.
	waitTurns uint64

	// builders has, for each step, those of its ancestors that build state; nil
	// for a run whose steps keep none.
	builders []stepSet

	// endAt is the place of the end step, or noStep.
	endAt int
	// index has the places of the steps by name; nil for a run of few.
	index    map[string]int
	childAt  map[childKey]int
	attempts int
}

type childKey struct {
	step, key  string
	generation int
}

// fewSteps are found by looking through all.
const fewSteps = 16

// NewState is a run before its first entry.
func NewState(runID string, def *messages.WorkflowDefinition) *State {
	s := &State{RunID: runID, Def: def, Steps: make([]Step, len(def.Steps)), endAt: noStep, nextBy: noStep}
	if len(def.Steps) > fewSteps {
		s.index = make(map[string]int, len(def.Steps))
	}
	edges := 0
	for i, d := range def.Steps {
		s.Steps[i].Def = d
		edges += len(d.Parents)
		if d.IsEndStep() {
			s.endAt = i
		}
		if s.index != nil {
			s.index[d.Name] = i
		}
	}
	s.link(make([]int, 0, 2*edges))
	s.findBuilders()
	return s
}

// link notes parents and children of all steps in the given room: that is one object
// for all of them.
func (s *State) link(room []int) {
	for i := range s.Steps {
		from := len(room)
		for _, p := range s.Steps[i].Def.Parents {
			j, _ := s.stepAt(p)
			room = append(room, j)
			s.Steps[j].children = room[:len(s.Steps[j].children)+1] // counts them for now
		}
		s.Steps[i].parents = room[from:len(room):len(room)]
	}
	for j := range s.Steps {
		from, n := len(room), len(s.Steps[j].children)
		room = room[:from+n]
		s.Steps[j].children = room[from : from : from+n]
	}
	for i := range s.Steps {
		for _, j := range s.Steps[i].parents {
			s.Steps[j].children = append(s.Steps[j].children, i)
		}
	}
}

// stepAt is the index of the step of a name; false if there is none.
func (s *State) stepAt(name string) (int, bool) {
	if s.index != nil {
		i, ok := s.index[name]
		return i, ok
	}
	for i := range s.Steps {
		if s.Steps[i].Def.Name == name {
			return i, true
		}
	}
	return 0, false
}

// Ended says that the run has a terminal status.
func (s *State) Ended() bool {
	return s.Status == messages.RunStatus_RUN_STATUS_SUCCEEDED ||
		s.Status == messages.RunStatus_RUN_STATUS_FAILED ||
		s.Status == messages.RunStatus_RUN_STATUS_CANCELED
}

// Step returns the step of a name, or nil.
func (s *State) Step(name string) *Step {
	if i, ok := s.stepAt(name); ok {
		return &s.Steps[i]
	}
	return nil
}

// HasReplay says that the replay that the request asked for is recorded.
func (s *State) HasReplay(requestID string) bool {
	return requestID != "" && slices.Contains(s.replays, requestID)
}

func (s *State) isSticky() bool { return s.Def.Sticky != messages.Sticky_STICKY_NONE }
func (s *State) soft() bool     { return s.Def.Sticky == messages.Sticky_STICKY_SOFT }
func (s *State) hard() bool     { return s.Def.Sticky == messages.Sticky_STICKY_HARD }

// bound says that the run has a binding that can be used.
func (s *State) bound() bool { return s.Binding.Worker != nil && !s.Binding.Lost }

// Away says that a step's live attempt was begun on the worker of a HARD run that
// is out of reach.
func (s *State) Away(st *Step) bool { return s.pending() && st.Phase == Live }

// pending says that a HARD run waits for its worker.
func (s *State) pending() bool { return s.hard() && s.Binding.Worker != nil && s.Binding.Lost }

func (s *State) child(step, key string) *Child {
	i, ok := s.childAt[childKey{step, key, s.Generation}]
	if !ok {
		return nil
	}
	return &s.Children[i]
}

func (st *Step) forgetLost(attempt int32) bool {
	for i, n := range st.lost {
		if n == attempt {
			st.lost = append(st.lost[:i:i], st.lost[i+1:]...)
			return true
		}
	}
	return false
}

// sameProcess compares two workers including the incarnation.
func sameProcess(a, b *messages.WorkerRef) bool {
	return a != nil && b != nil && a.WorkerId == b.WorkerId && a.Incarnation == b.Incarnation
}
