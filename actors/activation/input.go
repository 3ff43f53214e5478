package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Input is what a host is told.
type Input interface{ input() }

// Inputs of a host.
type (
	// Open begins the sweeping, and the waking of dormant runs.
	Open struct{}
	// ViewChanged is a view of the members: Owned says of each shard whether it
	// is this server's. An older view than the last one is ignored.
	ViewChanged struct {
		Version uint64
		Owned   []bool
	}
	// DeclaredGone: another server had given this one up, and taken its runs.
	DeclaredGone struct{}
	// BeginAnew: what is in memory may be old. ViewChanged is to follow.
	BeginAnew struct{}
	// PlacementReset: the placement of a pool forgot all questions.
	PlacementReset struct{}
	// Absent: there was a time without any server which this one was not there
	// before, or has slept through.
	Absent struct{}
	// Moved: the server's clock was moved on, or has caught up with what it missed.
	Moved struct{}
	// News: a worker came up or went, and all runs in memory that watch
	// it were told. A run whose dormancy is stored after the reading that this
	// causes heard of the worker before, and does not leave memory.
	News struct{ Worker run.WorkerChanged }
	// Want makes sure that a run has an activation.
	Want struct{ RunID string }
	// Deliver gives a message to the activation of a run, which is made if there
	// is none.
	Deliver struct {
		RunID           string
		Message, Sender any
	}
	// Start starts a run.
	Start struct{ *Starting }
	// Parked ends an AppendParked.
	Parked struct {
		Of  AppendParked
		Err error
	}
	// Lined is an activation's run.InLine.
	Lined struct {
		Activation *Activation
		run.InLine
	}
	// ShardsReleased: their former owner has stored all that it had of runs of
	// these shards. Taken answers the asker once this server has it.
	ShardsReleased struct {
		Shards []int
		Asker  any
	}
	// StillBound asks of a run whether it is bound to a worker under an epoch.
	StillBound struct {
		RunID string
		Bound
	}

	// Retired: an activation said Stop.
	Retired struct{ Activation *Activation }
	// Ended: the mailbox of an activation is gone, for whatever reason. A run that
	// had not retired is loaded again.
	Ended struct{ Activation *Activation }
	// Failed is an activation's LoadFailed.
	Failed struct {
		RunID string
		Err   error
	}
	// Again is an activation's LoadAgain.
	Again struct {
		RunID string
		LoadAgain
	}
	// Misplaced is an activation's PassOver.
	Misplaced struct {
		RunID string
		PassOver
	}

	// Record, Head and Found are what a Read found, one after the other, before
	// the Page that ends it.
	Record struct {
		Of *Read
		Loaded
	}
	Head struct {
		Of *Read
		journal.Head
	}
	Found struct {
		Of    *Read
		RunID string
	}
	// Page ends a Read: how many it found, or why it failed.
	Page struct {
		Of    *Read
		Count int
		// Next is when more runs will be due, after ReadDue.
		Next time.Time
		// Workers are those that dormant runs watch, after ReadWatched; Lines those
		// that dormant runs stand in, after ReadLines.
		Workers []string
		Lines   []int64
		Err     error
	}
	// RowRead answers ReadRow.
	RowRead struct {
		Of  ReadRow
		Row journal.Row
		Err error
	}
	// Offered answers Offer: whether the owner has taken the shards.
	Offered struct {
		Of    Offer
		Taken bool
	}
	// PassedOver ends a PassOver that the host let through.
	PassedOver struct{}
)

// Inputs that come back by Later.
type (
	reload struct {
		runID    string
		failures int
	}
	// goOn lets a job go on.
	goOn       struct{ job job }
	beginAnew  struct{ serial uint64 }
	searchDue  struct{ serial uint64 }
	turn       struct{ part int }
	offerAgain struct{ release *release }
	giveUp     struct{ release *release }
	forgetIt   struct{ claim *claim }
)

func (Open) input()           {}
func (ViewChanged) input()    {}
func (DeclaredGone) input()   {}
func (BeginAnew) input()      {}
func (PlacementReset) input() {}
func (Absent) input()         {}
func (News) input()           {}
func (Want) input()           {}
func (Deliver) input()        {}
func (Start) input()          {}
func (Parked) input()         {}
func (Lined) input()          {}
func (ShardsReleased) input() {}
func (StillBound) input()     {}
func (Retired) input()        {}
func (Ended) input()          {}
func (Failed) input()         {}
func (Again) input()          {}
func (Misplaced) input()      {}
func (Record) input()         {}
func (Head) input()           {}
func (Found) input()          {}
func (Page) input()           {}
func (RowRead) input()        {}
func (Offered) input()        {}
func (PassedOver) input()     {}
func (reload) input()         {}
func (goOn) input()           {}
func (beginAnew) input()      {}
func (searchDue) input()      {}
func (Moved) input()          {}
func (turn) input()           {}
func (offerAgain) input()     {}
func (giveUp) input()         {}
func (forgetIt) input()       {}

// Query is what a Read reads.
type Query uint8

// The queries of the journal: the unfinished runs that are not dormant, with
// what is in them or by their heads; the dormant ones that a worker's coming or
// going wakes; the workers whose going wakes any; the dormant runs whose time has
// come; those of a line; and the lines.
const (
	ReadActive Query = iota
	ReadHeads
	ReadWokenByUp
	ReadWokenByGone
	ReadWatched
	ReadDue
	ReadInLine
	ReadLines
)

func (q Query) String() string {
	return [...]string{"active", "heads", "woken by up", "woken by gone", "watched", "due", "in line", "lines"}[q]
}

// Actions of a host, beside Respond.
type (
	// Spawn gives a new activation a mailbox, and has it Begin.
	Spawn struct {
		run.Extra
		Activation *Activation
	}
	// Tell puts a message into an activation's mailbox.
	Tell struct {
		run.Extra
		Activation      *Activation
		Message, Sender any
	}
	// Read reads from the journal: a page of what comes after After. Record, Head
	// or Found are to follow, and a Page in any case.
	Read struct {
		run.Extra
		Query Query
		// Shards to search; nil for all.
		Shards   []int
		WorkerID string
		After    string
		// Line and Place are for ReadInLine: what comes after the place.
		Line  int64
		Place journal.Place
		// At is the time by which runs are due.
		At    time.Time
		Limit int
		// mark is of before the reading.
		mark uint64
		job  job
	}
	// AppendParked makes the first entry of a run durable that is not activated;
	// Parked is to follow.
	AppendParked struct {
		run.Extra
		State *run.State
		Entry *messages.Entry
		of    *parking
	}
	// ReadRow reads the row of a run; RowRead is to follow.
	ReadRow struct {
		run.Extra
		StillBound
	}
	// Later gives the input back after a pause, and a random part of Spread.
	Later struct {
		run.Extra
		After, Spread time.Duration
		Input         Input
	}
	// Offer asks the new owner of shards to take them up; Offered is to follow.
	Offer struct {
		run.Extra
		Owner   string
		Shards  []int
		release *release
	}
	// Taken answers ShardsReleased.
	Taken struct {
		run.Extra
		Asker any
	}
	// StartDone ends a start.
	StartDone struct {
		run.Extra
		Starting *Starting
		Reply    *messages.StartRunReply
	}
	// SendOver gives a result to the server that owns the run; PassedOver is to
	// follow.
	SendOver struct {
		run.Extra
		RunID  string
		Result *messages.Result
		Sender any
	}
	// Stir has those who wait for news of runs read the journal: another server
	// may have written there.
	Stir struct{ run.Extra }
)

// Reports of a host.
type (
	// LoadsAgain: an activation was dropped, and the run is loaded after a pause.
	LoadsAgain struct {
		run.Extra
		RunID string
		In    time.Duration
		Err   error
	}
	// SetAside: a run cannot be read and is not woken for a while.
	SetAside struct {
		run.Extra
		RunID string
		Err   error
	}
	// ReadsAgain: a Read failed and is tried again.
	ReadsAgain struct {
		run.Extra
		Of  *Read
		Err error
	}
	// Recovered: the unfinished runs of newly owned shards are back.
	Recovered struct {
		run.Extra
		Runs int
		Took time.Duration
	}
	// Begun: all activations were dropped, for others had given this server up.
	Begun struct {
		run.Extra
		Runs int
	}
)
