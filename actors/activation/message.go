package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Facts is what the server knows at the moment. Each call answers at once, and
// may come from any activation and from the host.
type Facts interface {
	// Owns says that the run's shard is this server's, by its newest view.
	Owns(runID string) bool
	// OwnerOf names the other server that owns a shard; empty if there is none.
	OwnerOf(shard int) string
	// Alone: there is no other server.
	Alone() bool
	// LeaseMark names this moment in the history of the leases that the server
	// has granted. LeaseTerm is the newest term of a worker's process that it
	// knew by then; false if it knows one that is newer.
	LeaseMark() uint64
	LeaseTerm(worker *messages.WorkerRef, mark uint64) (uint64, bool)
	// InfoOf is what a worker's process has said of itself; nil if it has not yet.
	InfoOf(worker *messages.WorkerRef) *messages.WorkerInfo
	// UpWorkers are the ids of the workers that are up.
	UpWorkers() []string
	// Absences are the times without any server, as far as they are known.
	Absences() []run.Absence
	// ToEngine is when the wall clock shows a time, in the server's time.
	ToEngine(wall time.Time) time.Time
	// Backlog counts the appends and mailboxes that wait.
	Backlog() int
	// Waits changes the number of bytes that all activations keep until they can
	// be decided, and returns it.
	Waits(change int) int
}

// Messages of an activation's own server. Besides these an activation receives
// the inputs of its machine (run.Start, run.Appended, *run.WorkerChanged, …) and
// what workers, placement and clients send.
type (
	// Loaded answers Load.
	Loaded struct {
		Record journal.Record
		Def    *messages.WorkflowDefinition
		Err    error
	}
	// SpawnResolved answers Resolve: the child's definition, or why there is
	// none for this input.
	SpawnResolved struct {
		Resolve
		Def  *messages.WorkflowDefinition
		Hash string
		// Unsuccessful: the earlier child has ended, and not succeeded.
		Unsuccessful bool
		// NoNew is why no new run of it may start, if so.
		NoNew error
		Err   error
	}
	// ChildAnswered answers run.CancelChild, and StartCanceled: then Started is set.
	ChildAnswered struct {
		Of      run.CancelChild
		Started bool
		Err     error
	}
	// AskWaitingFor asks what the run waits for; the answer is a WaitingFor.
	AskWaitingFor struct{}
	WaitingFor    string
	// Bound asks whether the run is still bound to a worker under an epoch; the
	// answer, RunReleased, goes to To if it is not.
	Bound struct {
		Worker *messages.WorkerRef
		Epoch  uint64
		To     any
	}
	// Drop ends the activation without a word, once its append in flight is
	// stored: its shard went to another server, or, if Anew is set, what this
	// server holds in memory may be old.
	Drop struct{ Anew bool }
	// StoredUpTo ends the activation if it is behind the journal.
	StoredUpTo struct{ Number uint64 }
	// CompareStored makes the activation find out whether it is behind.
	CompareStored struct{}
	// Compared answers Compare: whether there are more entries.
	Compared struct {
		Of   Compare
		More bool
		Err  error
	}
)

// Action is what the shell is to do: one of package run's, or one of these.
type Action = run.Action

// Actions of an activation. Run's own Stop means that it has retired.
type (
	// Load reads the run and its definition; Loaded is to follow.
	Load struct{ run.Extra }
	// Resolve looks up the definition of the child that is to be spawned, checks
	// its input, and finds out what became of the earlier child that it may
	// replace, if there is one; SpawnResolved is to follow.
	Resolve struct {
		run.Extra
		Message *messages.SpawnChild
		Sender  any
		Earlier string
	}
	// StartCanceled starts a child that is not there, with its cancel: a start that
	// is late, from a server that was cut off with it, then finds it ended.
	// ChildAnswered is to follow.
	StartCanceled struct {
		run.Extra
		Of run.CancelChild
	}
	// Respond answers whoever asked: To is the sender of the question.
	Respond struct {
		run.Extra
		To, Message any
	}
	// PassOn gives a message to the next activation of the run, which is made if
	// there is none. One without a message only makes it.
	PassOn struct {
		run.Extra
		Message, Sender any
	}
	// PassOver gives a result to the server that owns the run now.
	PassOver struct {
		run.Extra
		Result *messages.Result
		Sender any
	}
	// Foreign reports a message in the name of another worker, which was refused.
	Foreign struct {
		run.Extra
		Err error
	}
	// Compare reads whether the journal has entries after a number; Compared is
	// to follow.
	Compare struct {
		run.Extra
		After uint64
		// mark is of before the reading, and so is asked: how many have asked what
		// the answer proves.
		mark, asked uint64
	}
	// LoadAgain makes the host load the run after a pause. Failures counts the
	// activations in a row that failed before.
	LoadAgain struct {
		run.Extra
		Failures int
		Err      error
	}
	// Seen: the run that was loaded has an entry of a time that this server's clock has
	// not come to. It goes on from there before the next action is carried out, else
	// nothing of the run would come due until it has come as far by itself.
	Seen struct {
		run.Extra
		At time.Time
	}
	// LoadFailed and AppendFailed report what went wrong.
	LoadFailed struct {
		run.Extra
		Err error
	}
	AppendFailed struct {
		run.Extra
		Err error
	}
)
