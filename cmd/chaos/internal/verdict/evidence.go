package verdict

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// Evidence is all that the checker goes by.
type Evidence struct {
	Seed uint64
	// At is when the evidence was taken, after the faults were undone and the
	// runs had time to end.
	At    time.Time
	Calls []Call
	// Runs that the API lists, and those that a call named, children included.
	Runs []Run
	// Executions and Processes are from the ledger of the workers.
	Executions []ledger.Execution
	Processes  []ledger.Process
	// Values are the local state that the ledger tells of.
	Values []ledger.Value
}

// Act is what a client asked for.
type Act string

const (
	ActStart  Act = "start"
	ActEvent  Act = "event"
	ActCancel Act = "cancel"
	ActReplay Act = "replay"
	ActWait   Act = "wait"
	ActWatch  Act = "watch"
	// ActSignal sends a message; Key is its id.
	ActSignal Act = "signal"
	// ActPublish pushes an event that runs wait for and that starts none; Key is its id.
	ActPublish Act = "publish"
	// ActAsk asks a run where it is.
	ActAsk Act = "ask"
	// ActRead follows the stream of a run.
	ActRead Act = "read"
)

// Outcome of a call as its client saw it.
type Outcome string

const (
	// Acknowledged: the call was answered.
	Acknowledged Outcome = "acknowledged"
	// Refused: an error that says that the call had no effect and that it will
	// not have one if it is made again.
	Refused Outcome = "refused"
	// Ambiguous: an error after which the call may have had its effect.
	Ambiguous Outcome = "ambiguous"
)

// Call is one call of a client, as it was made and as it ended.
type Call struct {
	Act        Act
	Begin, End time.Time
	Outcome    Outcome
	// Code and Error of a call that was not acknowledged.
	Code  messages.Code
	Error string

	// Number names what the client wanted; the calls that try the same again,
	// or ask twice on purpose, have one number. A run carries it in its metadata
	// under NumberKey.
	Number uint64
	// Workflow, Key, Input and Event (its key) of a start or an event; Key is
	// the idempotency key or the id of the event.
	Workflow, Key, Event string
	Input                []byte
	// Triggers is how many workflows the event starts a run of.
	Triggers int
	// Runs are the ids that were answered; of other acts, the run it is about.
	Runs []string
	// Steps of a replay.
	Steps []string
	// Status that a wait or watch ended with.
	Status messages.RunStatus
	// Entries that a watch saw, in order.
	Entries []uint64
	// Answer to a query.
	Answer Answer
	// Pieces that were read of a stream, in order.
	Pieces []Piece
}

// Answer is what a run says of itself when it is asked: where the query is answered, and
// of which run the private state there is; empty for a workflow without.
type Answer struct {
	Run, Worker string
	Epoch       uint64
	Of          string
}

// NumberKey is the key of the metadata that names the call that wanted a run.
const NumberKey = "call"

// Run is what the API says of a run.
type Run struct {
	ID string
	// Error is why the run could not be read; empty if it was. Unknown says that
	// the API knows no such run.
	Error   string
	Unknown bool
	// Listed says that it was in the list of all runs.
	Listed bool

	// Status, Worker and Epoch of its row.
	Status messages.RunStatus
	Worker string
	Epoch  uint64
	// Parents of each step, by the definition that the run keeps.
	Parents map[string][]string
	// EndStep is the name of the end step, for every outcome, which is not among
	// those; empty for none.
	EndStep string
	// Entries are its history from the first on.
	Entries []Entry
	// Stream is what is there of the stream that it wrote.
	Stream []Piece
	// Want is what the run has to return, worked out from its input alone.
	Want *Want
}

// Entry is one entry of a history.
type Entry struct {
	Number uint64
	At     time.Time
	Events []*messages.Event
}

// entryJSON is an Entry in JSON: the events in their own encoding.
type entryJSON struct {
	Number uint64
	At     time.Time
	Events []byte
}

// MarshalJSON lets evidence be kept in a file and judged again.
func (e Entry) MarshalJSON() ([]byte, error) {
	data, err := messages.Marshal(&messages.Entry{Events: e.Events})
	if err != nil {
		return nil, err
	}
	return json.Marshal(entryJSON{e.Number, e.At, data})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var j entryJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	var entry messages.Entry
	if err := messages.Unmarshal(j.Events, &entry); err != nil {
		return err
	}
	e.Number, e.At, e.Events = j.Number, j.At, entry.Events
	return nil
}

// Want is how a run has to end unless it is canceled.
type Want struct {
	// Values of the steps that succeed.
	Values map[string]string
	// Fails names the step that fails for good; empty if none does.
	Fails string
	// Overruns names the step that overruns its execution timeout; empty if
	// none does.
	Overruns string
	// Builds and Needs are the steps that build local state and those that need
	// what their ancestors have built.
	Builds, Needs []string
	// Private names the local state that is the run's own, Shared the one that it
	// shares under Key; empty for none. Handoff says that the private one can be
	// handed off.
	Private, Shared, Key string
	Handoff              bool
	// BindFails says that local state fails to be built, once in each process.
	BindFails bool
}

// Output is what every step of the load returns, and what its execution notes
// in the ledger, byte for byte.
type Output struct {
	Value string `json:"value"`
	// Execution is the ledger's id of the call that returned it.
	Execution string `json:"execution"`
	// Inputs are the executions whose outputs the step was given, in the order of
	// its parents.
	Inputs []string `json:"inputs,omitempty"`
	// Children that the step spawned.
	Children []string `json:"children,omitempty"`
	// Untold says that the process had no state of the run, and the step had
	// not been told that it is new.
	Untold bool `json:"untold,omitempty"`
}

// OnPurpose begins the error of a step that fails because its input says so,
// and of one that says that its state is lost.
const OnPurpose = "on purpose"

// Door is how user code leaves that fails on purpose, as its error ends.
type Door string

// The doors: an error that is returned, a panic, the end of the goroutine, and an
// error whose methods panic.
const (
	ByError  Door = ""
	ByPanic  Door = ", by a panic"
	ByGoexit Door = ", by runtime.Goexit"
	ByMethod Door = ", by an error that cannot be read"
)

// Doors are all doors; most code leaves by the first.
var Doors = []Door{ByError, ByPanic, ByError, ByGoexit, ByError, ByMethod}

// leftAs says that a failure is recorded as that of an execution whose ledger ends
// with the note.
func leftAs(note string, code messages.Code, message string) bool {
	switch {
	case strings.HasSuffix(note, string(ByPanic)):
		return code == messages.CodeStepPanicked && strings.HasSuffix(message, "panicked: "+note)
	case strings.HasSuffix(note, string(ByGoexit)):
		return code == messages.CodeStepPanicked && strings.HasSuffix(message, "ended its goroutine with runtime.Goexit")
	case strings.HasSuffix(note, string(ByMethod)):
		return code == messages.CodeUserError && strings.HasPrefix(message, "a method of the error")
	}
	return code == messages.CodeUserError && note == message
}

// State is what a private value of local state holds, and what it is handed off
// as, in JSON.
type State struct {
	Run string `json:"run"`
	// Version counts the uses, from the first process that built it on.
	Version int `json:"version"`
}

// GivenUp is the code of a call that the load itself broke off when the test
// was over.
const GivenUp = "GIVEN_UP"
