package run

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// Input is what a machine is told. Tokens are the shell's: they come back in
// the Reply that answers the input.
type Input interface{ input() }

// Start starts the run, or asks whether it is the run that was started.
//
// With Cancel the run is canceled in the same turn: one that was there is
// canceled like any other, whatever its input is.
//
// With Signal the run has the message either way: one that was there gets it, and
// its input is not compared.
type Start struct {
	Started *messages.RunStarted
	Cancel  *messages.CancelRequested
	Signal  *messages.SignalRun
	Token   any
}

// TakeUp is the first input of a machine restored from the journal. Absences are
// in order, and do not overlap. InTurn: it is the run's turn in its line; a parked
// one waits on without it.
type TakeUp struct {
	Absences []Absence
	InTurn   bool
}

// Absent replaces the absences of TakeUp: there was one while the run was in memory.
type Absent struct{ Absences []Absence }

// Park has a run that waits for placement alone wait for its turn in the
// journal; Admit says that it is its turn. See InLine.
type (
	Park  struct{}
	Admit struct{}
)

// TimerDue says that the time of the last SetTimer has come.
type TimerDue struct{}

// Appended says that the last Append is durable, or failed for good.
type Appended struct{ Err error }

// Drop ends the activation: the run belongs to another server now. Who waits
// for a reply gets JOURNAL_CONFLICT, and placement its questions back.
type Drop struct{}

// FromWorker is a message of a worker about an attempt: Queued, Started,
// Result, Revoked, DispatchRefused or AttemptUnknown.
type FromWorker struct{ Message proto.Message }

// Placed and PlaceWaiting are placement's answers; PlacementReset says that
// placement forgot all questions.
type (
	Placed         struct{ Message *messages.Placed }
	PlaceWaiting   struct{ Message *messages.PlaceWaiting }
	PlacementReset struct{}
)

// WorkerState is what the roster says of a worker process.
type WorkerState uint8

const (
	// WorkerUp is admitted, and has said who it is.
	WorkerUp WorkerState = iota + 1
	// WorkerDraining takes nothing new and serves the runs bound to it. It may
	// be up again.
	WorkerDraining
	// WorkerGone left, was declared dead or was superseded.
	WorkerGone
)

func (s WorkerState) String() string {
	switch s {
	case WorkerUp:
		return "up"
	case WorkerDraining:
		return "draining"
	case WorkerGone:
		return "gone"
	}
	return "unknown"
}

// WorkerChanged is news of one process of a worker. It must not be changed.
type WorkerChanged struct {
	Worker *messages.WorkerRef
	State  WorkerState
	// Reason of WorkerGone: WORKER_LEFT, WORKER_LOST or WORKER_SUPERSEDED; of
	// WorkerDraining: WORKER_DRAINING.
	Reason messages.Reason
	// Info is what the process last said of itself; nil if the server never
	// asked it.
	Info *messages.WorkerInfo
}

// HasSteps says that a worker has registered all steps of a definition.
func HasSteps(w *messages.WorkerInfo, def *messages.WorkflowDefinition) bool {
	return len(Lacking(w, def)) == 0
}

// Lacking are the steps of a definition that a worker has not registered.
func Lacking(w *messages.WorkerInfo, def *messages.WorkflowDefinition) []string {
	var have *messages.WorkflowDefinition
	for _, d := range w.GetWorkflows() {
		if d.Name == def.Name {
			have = d
		}
	}
	var lacks []string
	for _, s := range def.Steps {
		if have == nil || have.StepNamed(s.Name) == nil {
			lacks = append(lacks, s.Name)
		}
	}
	return lacks
}

// Cancel asks for the end of the run.
type Cancel struct {
	Reason string
	Token  any
}

// Replay runs steps of an ended run again; none named means all. RequestID
// names the request: one that is recorded is not done twice. Empty for none.
type Replay struct {
	Steps     []string
	RequestID string
	Token     any
}

// Spawn asks for a child. The shell has looked up the child's definition (or
// says in Err why not) and whether it is registered on the spawning worker.
type Spawn struct {
	Message  *messages.SpawnChild
	Def      *messages.WorkflowDefinition
	Hash     string
	OnWorker bool
	// Unsuccessful is MayReplace's child if that has ended without success.
	Unsuccessful string
	// NoNew is why no new run of the child may start; nil if one may. The earlier
	// child of the key is given back all the same.
	NoNew error
	Err   error
	Token any
}

// RecordCall and FindCall are what a live attempt says and asks of its calls. See
// calls.go.
type (
	RecordCall struct {
		Message *messages.RecordCall
		Token   any
	}
	FindCall struct {
		Message *messages.RecordedCalls
		Token   any
	}
)

// Signal puts a message into the mailbox; AwaitCall is a live attempt that waits in
// a call. See mailbox.go.
type (
	Signal struct {
		Message *messages.SignalRun
		Token   any
	}
	AwaitCall struct {
		Message *messages.AwaitCall
		Token   any
	}
)

// ChildStarted says that a child is durable, or was refused.
type ChildStarted struct {
	ChildRun string
	Err      error
}

// ChildCanceled says that a child has taken note of the cancel, or has ended.
type ChildCanceled struct{ ChildRun string }

// ChildrenListed answers ListChildren: the children that have ended, or why that is
// not known.
type ChildrenListed struct {
	Ended []string
	Err   error
}

func (Start) input()          {}
func (TakeUp) input()         {}
func (Absent) input()         {}
func (TimerDue) input()       {}
func (Appended) input()       {}
func (Drop) input()           {}
func (FromWorker) input()     {}
func (Placed) input()         {}
func (PlaceWaiting) input()   {}
func (PlacementReset) input() {}
func (Park) input()           {}
func (Admit) input()          {}
func (WorkerChanged) input()  {}
func (Cancel) input()         {}
func (Replay) input()         {}
func (Spawn) input()          {}
func (RecordCall) input()     {}
func (FindCall) input()       {}
func (Signal) input()         {}
func (AwaitCall) input()      {}
func (ChildStarted) input()   {}
func (ChildCanceled) input()  {}
func (ChildrenListed) input() {}

// Action is what a machine wants done, in order.
type Action interface{ action() }

// Extra is embedded by the actions that a package around the machine adds to the
// machine's.
type Extra struct{}

// Append makes an entry durable; Appended is to follow. The state does not
// change until then. RowChanged: the projection of the run is another one.
type Append struct {
	Number     uint64
	Entry      *messages.Entry
	RowChanged bool
}

// SendWorker sends to a worker actor: Dispatch, Revoke, CancelAttempt,
// ResultAck or RunReleased. The shell fills in the reply address.
type SendWorker struct {
	To      *messages.WorkerRef
	Message proto.Message
}

// Ask, Withdraw and Unbound go to the placement of the run's pool.
type (
	Ask      struct{ Message *messages.Place }
	Withdraw struct{ Message *messages.WithdrawPlace }
	Unbound  struct{ Message *messages.RunUnbound }
)

// Watch asks the roster for news of a worker; Unwatch ends it.
type (
	Watch   struct{ WorkerID, Incarnation string }
	Unwatch struct{ WorkerID string }
)

// StartChild starts a run on its owner; ChildStarted is to follow.
type StartChild struct{ Message *messages.StartRun }

// ListChildren asks the journal which children of the run have ended;
// ChildrenListed is to follow.
type ListChildren struct{}

// CancelChild cancels a child; ChildCanceled is to follow. Start is what is
// known of how the child was started: with it a child that is not there is
// recorded as canceled, before a start that is late makes it begin.
type CancelChild struct {
	RunID, Reason string
	Start         *messages.RunStarted
}

// ReadCalls reads the record of a call from the journal, and those after it that
// fit a CallPage, and answers the FindCall or AwaitCall with the token.
type ReadCalls struct {
	Token any
	// From is the number of the entry that has it.
	From uint64
	Find *messages.RecordedCalls
}

// Reply answers the input with the token.
type Reply struct {
	Token    any
	Existed  bool
	ChildRun string
	Err      error
	// Unproven: it says that nothing has changed, which no entry shows. It is given
	// once the journal shows the activation to be the newest.
	Unproven bool
}

// InLine says in which line the run asks placement from now on; 0: it does not
// wait. A run that was started, or whose turn it is, counts in its line until it
// says so. It may be told to Park.
type InLine struct{ Line int64 }

// SetTimer replaces the run's only timer; the zero time takes it back.
type SetTimer struct{ At time.Time }

// Unoffered says that steps have waited for long for what nobody offers, once that
// is on record. It is for those who count.
type Unoffered struct{ *messages.NotOffered }

// Stop says that nothing is left to do in memory: the run ended or is dormant.
type Stop struct{}

func (Extra) action()        {}
func (Append) action()       {}
func (SendWorker) action()   {}
func (Ask) action()          {}
func (Withdraw) action()     {}
func (Unbound) action()      {}
func (Watch) action()        {}
func (InLine) action()       {}
func (Unwatch) action()      {}
func (StartChild) action()   {}
func (ListChildren) action() {}
func (CancelChild) action()  {}
func (ReadCalls) action()    {}
func (Reply) action()        {}
func (SetTimer) action()     {}
func (Unoffered) action()    {}
func (Stop) action()         {}
