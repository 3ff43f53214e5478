package run

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Phase of a step.
type Phase uint8

// A step waits for its parents, is ready (or backs off before a retry), has a
// live attempt, and ends in one of the last four.
const (
	Waiting Phase = iota
	Ready
	Backoff
	Live
	Succeeded
	Failed
	Skipped
	Canceled
)

var phaseNames = [...]string{"waiting", "ready", "backoff", "live", "succeeded", "failed", "skipped", "canceled"}

func (p Phase) String() string { return phaseNames[p] }

// Ended says that no attempt of the step will follow.
func (p Phase) Ended() bool { return p >= Succeeded }

// Step is the state of one step.
type Step struct {
	Def     *messages.StepDefinition
	Phase   Phase
	parents []int
	// children are the steps that have this one as a parent.
	children []int

	// Attempt is the number of the newest attempt; attempts count from 1.
	Attempt int32
	// Failures charged to the retries; Lost attempts that had started, Downs those
	// of them whose worker's process was lost.
	Failures, Lost, Downs int32
	// ReadyAt starts the schedule timeout. RetryAt ends a Backoff.
	ReadyAt, RetryAt time.Time
	// Worker and Epoch of the newest attempt.
	Worker *messages.WorkerRef
	Epoch  uint64
	// StartedAt is zero until the start is known.
	DispatchedAt, StartedAt, EndedAt time.Time
	Output                           []byte
	Failure                          *messages.Failure
	SkipReason                       string
	// Rebuild is set while the step, which had succeeded, is executed again for
	// the local state that it builds.
	Rebuild *Rebuild
	// BuiltEpoch is the newest epoch under which the step succeeded or was
	// rebuilt, and its local state is there; 0 for none.
	BuiltEpoch uint64
	// wantsState: the step once found its state lost, so that it counts as one
	// that needs it. spoilt: state was lost while the attempt was live, perhaps
	// what it had built by then.
	wantsState, spoilt bool
	// NotOffered: it is on record that nobody offers what the step waits for.
	NotOffered bool
	// calls are those that are recorded, as long as another execution of the step
	// may ask for them; recorded counts them, and lastCall is the newest.
	calls    map[callKey]recordedCall
	recorded int
	lastCall string
	// waits are the calls that wait.
	waits map[callKey]callWait
	// lost holds numbers of attempts whose late result is still to be refused.
	lost []int32
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
	generation   int
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

// State is a run, folded from its entries.
type State struct {
	RunID string
	// Number of the newest entry, and the latest time of all.
	Number  uint64
	At      time.Time
	Def     *messages.WorkflowDefinition
	Start   *messages.RunStarted
	Status  messages.RunStatus
	Failure *messages.Failure
	// Cancel is set from the request on.
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
	// Generation counts replays; replays holds the requests that asked for them.
	Generation int
	replays    []string
	// WorkedEpoch is the newest epoch under which a step ended: local state of
	// a later epoch is new to the run.
	WorkedEpoch  uint64
	workedWorker string
	// StateLost: a step found the local state of the epoch gone, and none has
	// ended since.
	StateLost bool
	// Handed is what the worker of an earlier epoch gave away, until a step has
	// ended under a later one; nil if there is nothing.
	Handed *messages.StateHandedOff

	// mailbox has the messages that were not received, by name, the oldest first;
	// unread counts them. signaled has a hash of each that ever came, by its id.
	mailbox  map[string][]letter
	unread   int
	signaled map[string]string
	// waitTurns counts the waits of calls.
	waitTurns uint64

	// builders has, for each step, those of its ancestors that build state; nil
	// for a run whose steps keep none.
	builders []stepSet

	index    map[string]int
	childAt  map[childKey]int
	attempts int
}

type childKey struct {
	step, key  string
	generation int
}

// NewState is a run before its first entry.
func NewState(runID string, def *messages.WorkflowDefinition) *State {
	s := &State{RunID: runID, Def: def, index: make(map[string]int, len(def.Steps)), childAt: map[childKey]int{}}
	s.Steps = make([]Step, len(def.Steps))
	for i, d := range def.Steps {
		s.Steps[i].Def = d
		s.index[d.Name] = i
	}
	for i, d := range def.Steps {
		for _, p := range d.Parents {
			j := s.index[p]
			s.Steps[i].parents = append(s.Steps[i].parents, j)
			s.Steps[j].children = append(s.Steps[j].children, i)
		}
	}
	s.findBuilders()
	return s
}

// Ended says that the run has a terminal status.
func (s *State) Ended() bool {
	return s.Status == messages.RunStatus_RUN_STATUS_SUCCEEDED ||
		s.Status == messages.RunStatus_RUN_STATUS_FAILED ||
		s.Status == messages.RunStatus_RUN_STATUS_CANCELED
}

// Step returns the step of a name, or nil.
func (s *State) Step(name string) *Step {
	if i, ok := s.index[name]; ok {
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
