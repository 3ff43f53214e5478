// Package journal is the contract of the append-only, compare-and-swap history
// of runs, the only source of truth of a cluster.
//
// A run's history is a list of entries, numbered from 1. An append may cut those before
// it that its run can do without. An entry holds the
// events of one turn of the run and becomes durable as a whole. Beside the
// history stands a row, the projection of a run that listings, recovery and
// wake-ups are answered from; it changes in the same commit as the entry that
// changes it.
//
// Data flow: run → Committer (gathers what arrives while a commit is in
// flight) → Store.Append (one durable commit a batch) → callbacks.
//
// Stores: Memory here, sqlite and postgres below. journaltest holds the
// conformance suite that each of them passes and a store that fails on purpose.
//
// Imports only messages, cluster/backoff and cluster/notify.
package journal

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Row is the projection of a run. Stores keep times to the microsecond and
// return them in UTC; a zero time stays zero.
type Row struct {
	RunID          string
	Shard          int
	Workflow       string
	DefinitionHash string
	Pool           string
	Sticky         messages.Sticky
	Status         messages.RunStatus
	Priority       int32
	ParentRun      string
	Trigger        string
	// Worker id of the binding of a live sticky run; empty otherwise: stores
	// clear it in the row of a finished run.
	BoundWorker string
	// LastWorker is the worker id of a finished sticky run's last binding: what
	// people want to know of it. Nothing is found by it. Stores clear it in the row
	// of an unfinished run.
	LastWorker string
	Epoch      uint64
	// Dormant: unfinished, but nothing in memory until one of what is below.
	// They mean nothing in the row of another run. Stores clear it in the row of
	// a finished run.
	Dormant bool
	// WakeAt brings a dormant run back at a time; zero means no time.
	WakeAt time.Time
	// WakeOnUp brings it back when the worker with this id comes up.
	WakeOnUp string
	// WakeOnGone brings it back when the worker with this id is lost.
	WakeOnGone string
	// Line names those that wait for the same worker, slot for slot; 0 for none.
	// LineSince is the run's place in it: whoever waits longer comes before.
	Line       int64
	LineSince  time.Time
	CreatedAt  time.Time
	FinishedAt time.Time
	// Failure of a failed or canceled run.
	FailureCode    string
	FailureMessage string
}

// Finished says whether a run of this status has ended. A run that was set
// aside has not: a version that can read it goes on with it.
func Finished(s messages.RunStatus) bool {
	switch s {
	case messages.RunStatus_RUN_STATUS_SUCCEEDED,
		messages.RunStatus_RUN_STATUS_FAILED,
		messages.RunStatus_RUN_STATUS_CANCELED:
		return true
	}
	return false
}

// Append is one entry to be added, with the row as it is after it.
type Append struct {
	RunID string
	// Number of the new entry; the run must have exactly Number-1. The entry
	// with Number 1 creates the run.
	Number uint64
	// Entry is a marshalled messages.Entry. The store keeps it as it is and
	// does not hold on to the slice after Append has returned.
	Entry []byte
	// Row is nil if the entry changes nothing in it. Required for Number 1.
	// RunID, Shard, Workflow, ParentRun and CreatedAt of a run never change.
	Row *Row
	// Metadata of the run, which comes with every Row and never changes.
	// Listings choose by it; the store does not return it.
	Metadata map[string]string
	// Waits are what the entry changes of the waits for events of its run. One that
	// begins and is there already stays as it is.
	Waits []EventWaitChange
	// Streams are sections of the run's streams that begin with the entry, or are over
	// with it.
	Streams []StreamChange
	// Cut, if not 0, deletes the entries up to that number, but for those of Kept, which
	// are in order. These and others that were kept before are found by Entry alone, and
	// only as long as each later Cut keeps them, too.
	Cut  uint64
	Kept []uint64
}

// Limits of an append, each LIMIT_EXCEEDED or INVALID_ARGUMENT beyond it.
const (
	// EntryBytesMax is the largest entry, in bytes. One turn may gather many
	// step results, so it is far above the payload limit of a step.
	EntryBytesMax = 256 << 20
	// EntriesMax is the largest number of an entry.
	EntriesMax = 1<<31 - 1
	// RunIDBytesMax is the longest run id, in bytes. Ids of children grow with
	// the depth of the nesting.
	RunIDBytesMax = 1024
	// AncestorsMax is how many runs above a finished one are asked whether it is
	// to stay for them. Only a circle is longer.
	AncestorsMax = 10_000
)

// Validate reports what is wrong with an append whatever is stored:
// INVALID_ARGUMENT for a run id that is empty or too long, a Number of 0, an
// empty entry, a Cut that leaves none before it or does not fit Kept, a missing row for Number 1 and a row of another run or outside
// the shards; LIMIT_EXCEEDED for an entry or a Number that is too large.
func (a *Append) Validate() error {
	switch {
	case a.RunID == "" || len(a.RunID) > RunIDBytesMax:
		return messages.Errorf(messages.CodeInvalidArgument, "append: run id of %d bytes, must have 1 to %d", len(a.RunID), RunIDBytesMax)
	case a.Number == 0:
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: entry number 0, entries are numbered from 1", a.RunID)
	case a.Number > EntriesMax:
		return messages.Errorf(messages.CodeLimitExceeded, "append to run %q: entry number %d, the limit is %d", a.RunID, a.Number, EntriesMax)
	case len(a.Entry) == 0:
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: entry %d is empty", a.RunID, a.Number)
	case len(a.Entry) > EntryBytesMax:
		return messages.Errorf(messages.CodeLimitExceeded, "append to run %q: entry %d has %d bytes, the limit is %d", a.RunID, a.Number, len(a.Entry), EntryBytesMax)
	case !a.cutFits():
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: entry %d cuts those up to %d and keeps %d of them; the entry before it must stay", a.RunID, a.Number, a.Cut, len(a.Kept))
	case a.Row == nil && a.Number == 1:
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: the first entry comes without a row", a.RunID)
	case a.Row == nil:
		return nil
	case a.Row.RunID != a.RunID:
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: its row is of run %q", a.RunID, a.Row.RunID)
	case a.Row.Shard < 0 || a.Row.Shard >= messages.Shards:
		return messages.Errorf(messages.CodeInvalidArgument, "append to run %q: shard %d, must be 0 to %d", a.RunID, a.Row.Shard, messages.Shards-1)
	}
	return nil
}

// cutFits says that the entry before this one stays, and that what is kept is cut.
func (a *Append) cutFits() bool {
	if a.Cut == 0 {
		return len(a.Kept) == 0
	}
	return a.Cut < a.Number-1 && slices.IsSorted(a.Kept) && (len(a.Kept) == 0 || a.Kept[len(a.Kept)-1] <= a.Cut)
}

// Record is a run as stored.
type Record struct {
	Row Row
	// Entries in order; Entries[i] is number After+i+1.
	Entries [][]byte
	// After is how many entries come before: more than were asked for if these were cut.
	After uint64
}

// Last is the number of the newest of its entries.
func (r *Record) Last() uint64 { return r.After + uint64(len(r.Entries)) }

// Place is one in a line: those of one time come in the order of their ids. The
// zero value is before all.
type Place struct {
	Since time.Time
	RunID string
}

// Before says that a place comes before another one.
func (p Place) Before(other Place) bool {
	return cmp.Or(p.Since.Compare(other.Since), cmp.Compare(p.RunID, other.RunID)) < 0
}

// Place is the row's in its line.
func (r *Row) Place() Place { return Place{Since: r.LineSince, RunID: r.RunID} }

// Head is the id of a run and the number of its newest entry.
type Head struct {
	RunID  string
	Number uint64
}

// HeartbeatsKept is how old the heartbeats are that a store returns; it may
// delete older ones.
const HeartbeatsKept = time.Minute

// Presence is a stretch of time in which servers of a store noted that they were
// there.
type Presence struct{ From, To time.Time }

// PresencesKept is how many stretches a store keeps: the newest.
const PresencesKept = 1000

// KeptTime is the record in which the servers of a store keep how far time has
// come (package timeline): a small text that is replaced as a whole.
type KeptTime struct {
	// Version grows by one with each replacement; 0 if nothing was kept yet.
	Version uint64
	Data    []byte
	// Alone says, of what was read, that no other server has the store.
	Alone bool
}

// ListScanMax is how many rows a page of a listing looks at, if its filter has
// no index that selects only what is wanted.
const ListScanMax = 1000

// Filter selects rows of a listing; zero fields select all.
type Filter struct {
	Workflow    string
	Statuses    []messages.RunStatus
	BoundWorker string
	ParentRun   string
	// Roots selects runs without a parent.
	Roots bool
	// Metadata selects runs that have all these entries.
	Metadata map[string]string
	// Rows created after, and before, these times.
	CreatedAfter  time.Time
	CreatedBefore time.Time
}

// Definition is a recorded version of a workflow.
type Definition struct {
	Hash string
	Name string
	// Data is a marshalled messages.WorkflowDefinition.
	Data []byte
	// RegisteredAt is the first registration. A later one changes nothing, so that
	// an old process that comes back does not bring its version back.
	RegisteredAt time.Time
}

// Workflow is the current version of a name: the one with the newest
// RegisteredAt, or one that was chosen after that.
type Workflow struct {
	Definition
	// ChosenAt is when this version was chosen; zero if it is the newest one and
	// nobody chose it.
	ChosenAt time.Time
	// RetiredAt is since when the workflow starts no new runs; zero if it does.
	RetiredAt time.Time
	// UnservedSince is since when no worker serves it; zero while one does.
	UnservedSince time.Time
}

// Store keeps histories, rows and definitions on stable storage. All methods
// may be called concurrently and block until done or until ctx ends; slices
// and maps that they return belong to the caller. Errors carry a code:
// JOURNAL_UNAVAILABLE when trying again may help, JOURNAL_CORRUPT when not.
type Store interface {
	// Identity of the store, never empty: made once with it, as durable as it, and the
	// same for all that open it. It begins with messages.StoreInMemory if the store ends with
	// its process.
	Identity() string

	// Now returns the store's wall clock, which may be set at any time. It costs a
	// round trip.
	Now(ctx context.Context) (time.Time, error)
	// Time returns it with what is kept beside it: the one time of all servers on
	// the store (package timeline).
	Time(ctx context.Context) (wall time.Time, kept KeptTime, err error)
	// KeepTime replaces what is kept if its version is the one before, and says
	// whether it did.
	KeepTime(ctx context.Context, k KeptTime) (bool, error)

	// Append makes the batch durable in one commit and returns one error for
	// each element, in order. An element whose Number is not the next of its
	// run gets JOURNAL_CONFLICT and one that Validate refuses gets its error;
	// neither harms the others. Elements of one run may follow each other in
	// a batch. A failure of the whole commit is returned for every element.
	// JOURNAL_UNAVAILABLE means that it is not known whether the element was
	// stored: the connection broke during the commit. The same Append may be
	// tried again, and may then conflict with itself; Committer settles that by
	// comparing what is stored.
	Append(ctx context.Context, batch []Append) []error

	// Load returns a run; UNKNOWN_RUN if there is none.
	Load(ctx context.Context, runID string) (Record, error)

	// Entries returns a run with its entries after a number, at most limit; UNKNOWN_RUN
	// if there is none. Where some after the number were cut it begins after these.
	// Here and below a limit that is not positive returns nothing.
	Entries(ctx context.Context, runID string, after uint64, limit int) (Record, error)

	// Entry returns one entry of a run, also one that was kept when others were cut; nil
	// if there is none, UNKNOWN_RUN if there is no such run.
	Entry(ctx context.Context, runID string, number uint64) ([]byte, error)

	// Active returns unfinished runs that are not dormant, of the given
	// shards (nil means all), in the order of run ids after the given one, at
	// most limit.
	Active(ctx context.Context, shards []int, after string, limit int) ([]Record, error)

	// Due returns the ids of dormant runs whose WakeAt is not after now, the
	// earliest first, at most limit, and the earliest WakeAt of those left
	// (zero if none).
	Due(ctx context.Context, shards []int, now time.Time, limit int) (due []string, next time.Time, err error)

	// Heads returns the runs that Active would, without what is in them: for
	// the sweep that looks for runs that nobody has activated, and for
	// activations that are behind the journal. It is asked for some of the
	// shards every few seconds and must not read entries.
	Heads(ctx context.Context, shards []int, after string, limit int) ([]Head, error)

	// WokenByUp and WokenByGone return dormant runs that wait for the worker to
	// come up or to be lost, in the order of run ids after the given one, at
	// most limit.
	WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]Record, error)
	WokenByGone(ctx context.Context, shards []int, workerID, after string, limit int) ([]Record, error)

	// WatchedWorkers returns the distinct WakeOnGone of dormant runs, ordered.
	WatchedWorkers(ctx context.Context, shards []int) ([]string, error)

	// InLine returns dormant runs of a line, in the order of their places, after
	// the given one, at most limit.
	InLine(ctx context.Context, shards []int, line int64, after Place, limit int) ([]Record, error)

	// Lines returns the distinct lines of dormant runs, ordered.
	Lines(ctx context.Context, shards []int) ([]int64, error)

	// CountInLine and CountWokenByUp count the dormant runs of a line, and those
	// that wait for any worker to come up, up to limit: for who watches. They read
	// an index only.
	CountInLine(ctx context.Context, shards []int, line int64, limit int) (int, error)
	CountWokenByUp(ctx context.Context, shards []int, limit int) (int, error)

	// BoundCounts returns how many unfinished runs of a pool are bound to each
	// worker id.
	BoundCounts(ctx context.Context, pool string) (map[string]int, error)

	// List returns rows, newest first (CreatedAt, then RunID, descending), at
	// most limit, from a page token ("" for the first page), and the token of
	// the next page ("" at the end). A token that the store did not make is
	// INVALID_ARGUMENT. What a page costs does not grow with the number of runs:
	// an index has what each filter selects in the order of the listing. Where
	// none can, for two of worker, parent and entries of metadata together, a
	// page ends after ListScanMax rows of the first of them, with what was found.
	List(ctx context.Context, f Filter, limit int, token string) ([]Row, string, error)

	// CountRuns counts the rows of a listing by workflow and status, ordered, up to limit of
	// each. It reads an index only: what it costs does not grow with the number of runs
	// beyond that. Where no index selects them, it counts those of the first page.
	CountRuns(ctx context.Context, f Filter, limit int) ([]GroupCount, error)

	// PutDefinition records a definition; one whose hash is there already changes
	// nothing.
	PutDefinition(ctx context.Context, d Definition) error
	// Definition returns a version by hash; UNKNOWN_WORKFLOW if there is none.
	Definition(ctx context.Context, hash string) (Definition, error)
	// Workflows returns the current version of every name, ordered by name. Of two
	// versions registered in one microsecond the one with the greater hash is
	// current.
	Workflows(ctx context.Context) ([]Workflow, error)
	// Versions returns the versions of a name without their Data, the newest first,
	// at most limit.
	Versions(ctx context.Context, name string, limit int) ([]Definition, error)
	// ChooseVersion makes a version current until another one is put whose
	// RegisteredAt is later: later than at, and than that of all that there are. The
	// one that was chosen last and is current stays chosen since then; a hash that
	// the name does not have changes nothing.
	ChooseVersion(ctx context.Context, name, hash string, at time.Time) error
	// RetireWorkflow records that a workflow is retired from a time on: one that is
	// already stays retired since then. The zero time restores it. A name without
	// versions changes nothing.
	RetireWorkflow(ctx context.Context, name string, at time.Time) error
	// NoteUnserved notes that no worker serves some workflows from a time on: one of
	// which that is noted stays unserved since then. The zero time notes that they
	// are served. A name without versions changes nothing.
	NoteUnserved(ctx context.Context, names []string, since time.Time) error

	// DeleteFinished deletes finished runs whose FinishedAt is before the time,
	// the earliest first, at most limit, and returns how many; one without a
	// FinishedAt stays, and so does one below a run that is not deleted: whose
	// ParentRun, or a ParentRun above that, goes on or finished later. It may ask
	// for the run again. Nothing of a deleted run is left: its id could be used
	// again. What stays is not looked at each time.
	DeleteFinished(ctx context.Context, before time.Time, limit int) (int, error)

	// Heartbeat replaces the server's heartbeat and returns the newest of every
	// server, the caller's own included, in the order of the names. Each server
	// asks about twice a second: one round trip, and nothing has to outlive a
	// crash of the store.
	Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error)

	EventStore
	LogStore
	StreamStore
	AccessStore

	// NotePresence notes that a server is there at a time, durably, and returns the
	// stretches in which servers noted so, in order. Notes no further apart than
	// gap are of one stretch. One that is not after the newest changes nothing.
	NotePresence(ctx context.Context, at time.Time, gap time.Duration) ([]Presence, error)

	// Close waits for running calls and releases the store. Calls after it get
	// JOURNAL_UNAVAILABLE, except from a store that is shared in memory.
	Close() error
}
