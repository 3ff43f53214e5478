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

// TimerDue says that the time of the last SetTimer has come. Moved: the server's
// clock was moved on, so that it may not come late.
type TimerDue struct{ Moved bool }

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

// Cancel asks for the end of the run, WithoutEndStep for one that no end step is
// executed for, or not any longer.
type Cancel struct {
	Reason         string
	WithoutEndStep bool
	Token          any
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

// Where asks where the local state of the run is, as far as that is durable: Reply has
// it. It changes nothing.
type Where struct{ Token any }

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

// Signal puts a message into the mailbox, SendSignal is a live attempt that sends one to
// another run, and AwaitCall one that waits in a call. See mailbox.go, sends.go and
// callwaits.go.
type (
	SendSignal struct {
		Message *messages.SendSignal
		Token   any
	}
	Signal struct {
		Message *messages.SignalRun
		Token   any
	}
	AwaitCall struct {
		Message *messages.AwaitCall
		Token   any
	}
)

// OpenStream is a live attempt that wants to write to a stream. See streams.go.
type OpenStream struct {
	Message *messages.OpenStream
	Token   any
}

// SignalSent says what became of a SignalOther.
type SignalSent struct {
	Of  SignalOther
	Err error
}

// ChildEnded is what a child says of its end, ChildAsked what the journal says of a
// child: its end, or nil if it goes on, or why that is not known. ParentTold says that
// the parent knows of the run's end. See childends.go.
type (
	ChildEnded struct {
		ChildRun string
		Token    any
	}
	ChildAsked struct {
		RunID  string
		Serial uint64
		End    *messages.ChildEnd
		Err    error
	}
	ParentTold struct{ Of uint64 }
)

// EventsSought answers SeekEvents: with what came to which of the waits, or why that is
// not known. EventCame is an event that was published.
type (
	EventsSought struct {
		Of   SeekEvents
		Came []*messages.DeliverEvent
		Err  error
	}
	EventCame struct {
		Message *messages.DeliverEvent
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
func (Where) input()          {}
func (Signal) input()         {}
func (AwaitCall) input()      {}
func (SendSignal) input()     {}
func (OpenStream) input()     {}
func (SignalSent) input()     {}
func (ChildEnded) input()     {}
func (ChildAsked) input()     {}
func (ParentTold) input()     {}
func (EventsSought) input()   {}
func (EventCame) input()      {}
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
	// Events are what the entry changes of the waits for events.
	Events []EventWaitChange
	// Streams are what it changes of the sections of streams.
	Streams []StreamChange
	// Cut and Kept are of entries that the run can do without: see journal.Append.
	Cut  uint64
	Kept []uint64
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

// AskChild reads from the journal whether a child has ended; ChildAsked is to follow.
type AskChild struct {
	RunID  string
	Serial uint64
}

// SeekEvents looks for events that are kept and fit waits, by their ids; EventsSought is
// to follow.
type SeekEvents struct {
	Serial uint64
	Waits  []string
}

// TellParent tells the parent that the run has ended; ParentTold is to follow once the
// parent has answered, or is not there.
type TellParent struct {
	// Of is the entry that has the end.
	Of      uint64
	Message *messages.ChildEnded
}

// SignalOther sends a message to another run; SignalSent is to follow. With Keyed that
// is the run of a key, which is started with the message if it is not there.
type SignalOther struct {
	of      send
	Message *messages.SignalRun
	Keyed   *messages.KeyedRun
	// Traceparent is of the attempt that sends; empty if the run is not traced.
	Traceparent string
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
	// Decided: an event has decided a wait.
	Decided bool
	// Found answers Where.
	Found *messages.FoundRun
	// Section answers OpenStream.
	Section int32
	// Unproven: it says that nothing has changed, which no entry shows. It is given
	// once the journal shows the activation to be the newest.
	Unproven bool
}

// InLine says in which line the run asks placement from now on; 0: it does not
// wait. A run that was started, or whose turn it is, counts in its line until it
// says so. It may be told to Park. Bytes are what it keeps in memory of its input.
type InLine struct {
	Line  int64
	Bytes int
}

// SetTimer replaces the run's only timer; the zero time takes it back. It is the
// machine's, and holds until the next input: one is made for nearly each of them.
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
func (AskChild) action()     {}
func (TellParent) action()   {}
func (SeekEvents) action()   {}
func (SignalOther) action()  {}
func (ReadCalls) action()    {}
func (Reply) action()        {}
func (*SetTimer) action()    {}
func (Unoffered) action()    {}
func (Stop) action()         {}
