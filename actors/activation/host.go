package activation

import (
	"cmp"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/shrinkmap"
	"github.com/limpetrun/limpet/messages"
)

// HostConfig configures a Host. The first three fields are required.
type HostConfig struct {
	Facts Facts
	// Shards is their number, ShardOf that of a run.
	Shards  int
	ShardOf func(runID string) int
	// Run holds the times of the machines.
	Run run.Config
	// PageSize is how many runs are read at once.
	PageSize int
	// SweepTurn is how long a sweep takes for all shards; SweepTurnAlone
	// that of the only server, which loses nothing in races with others.
	SweepTurn, SweepTurnAlone time.Duration
	// LineMax bounds the runs that ask placement at one time, shared by the lines
	// that there are; each may have LineLeast. A run of a large input counts as
	// several: one more for each LineBytes of it.
	LineMax, LineLeast int
}

// Defaults of a HostConfig.
const (
	PageSize       = 500
	SweepTurn      = 20 * time.Second
	SweepTurnAlone = 2 * time.Minute
	LineMax        = 5000
	LineLeast      = 32
	LineBytes      = 16 << 10
)

// Host is the activations of a server and what the server does with the shards
// that it owns. See the package about who may call it when.
type Host struct {
	cfg   HostConfig
	facts Facts

	active shrinkmap.Map[string, *Activation]
	serial uint64

	// version of the newest view; owned are the shards of this server by it.
	version    uint64
	owned      []bool
	ownedCount int
	// taking counts the sets of shards that are being taken up. claims wait for
	// it, releases are the sets that are being let go.
	taking   int
	claims   []*claim
	releases []*release
	// anew is the serial of the newest reason to begin anew.
	anew uint64

	// wakings counts those that wake dormant runs by a worker's news now.
	wakings int
	// searchAt is when dormant runs that are due are searched for next, zero for
	// never; searches is the serial of that. searching: it is done now, and searchAt
	// gathers what is asked for in the meantime.
	searchAt  time.Time
	searches  uint64
	searching bool
	// aside are runs that cannot be read, and until when they are not woken.
	aside map[string]time.Time
	// unseen are, by the part of the sweep, the activations that it did not see
	// in the journal, by their serials.
	unseen [sweepParts]map[string]uint64
	// lines of which runs ask, or are parked; asking are those of all lines that
	// ask. parking are the first entries of parked runs that are on their way.
	lines   map[int64]*line
	asking  int
	parking map[string]*parking
	// passing counts the results that are on their way to new owners.
	passing int
	closed  bool

	out []Action
}

const (
	// againAfter is the wait before a run whose activation failed is loaded anew,
	// againBehind that after another activation went on with it, as happens when
	// it moves. Both double up to againMost while the activations do nothing but
	// fail. A reading that failed waits againAfter, too.
	againAfter  = 500 * time.Millisecond
	againBehind = 20 * time.Millisecond
	againMost   = 4 * time.Second
	// passingMax bounds the results that are being passed on to new owners;
	// workers send again what is dropped.
	passingMax = 64
)

// NewHost makes the host of a server that owns nothing yet.
func NewHost(cfg HostConfig) *Host {
	cfg.PageSize = cmp.Or(cfg.PageSize, PageSize)
	cfg.SweepTurn = cmp.Or(cfg.SweepTurn, SweepTurn)
	cfg.SweepTurnAlone = cmp.Or(cfg.SweepTurnAlone, SweepTurnAlone)
	cfg.LineMax = cmp.Or(cfg.LineMax, LineMax)
	cfg.LineLeast = cmp.Or(cfg.LineLeast, LineLeast)
	cfg.Run.InfoOf, cfg.Run.ToEngine = cfg.Facts.InfoOf, cfg.Facts.ToEngine
	cfg.Run = *cfg.Run.Complete()
	return &Host{cfg: cfg, facts: cfg.Facts, owned: make([]bool, cfg.Shards), aside: map[string]time.Time{},
		lines: map[int64]*line{}, parking: map[string]*parking{}}
}

// Active returns the activation of a run; nil if there is none. It only reads.
func (h *Host) Active(runID string) *Activation { return h.active.Get(runID) }

// Len is the number of activations. It only reads.
func (h *Host) Len() int { return h.active.Len() }

// All are the activations, in the order in which they were made. It only reads.
func (h *Host) All() []*Activation {
	return slices.SortedFunc(h.active.Values(), func(a, b *Activation) int { return cmp.Compare(a.Serial, b.Serial) })
}

// Away says that the server owns nothing, and that the new owners have taken up
// what it had, or were given up. It only reads.
func (h *Host) Away() bool { return h.ownedCount == 0 && len(h.releases) == 0 }

// Close ends all. It returns the activations that are left.
func (h *Host) Close() []*Activation {
	h.closed = true
	left := h.All()
	h.active.Clear()
	return left
}

// Handle takes an input. The actions belong to the caller.
func (h *Host) Handle(in Input, now time.Time) []Action {
	if !h.closed {
		h.handle(in, now)
	} else if start, ok := in.(Start); ok {
		h.act(StartDone{Starting: start.Starting, Reply: failed(messages.Errorf(messages.CodeUnavailable, "the server is stopping"))})
	}
	out := h.out
	h.out = nil
	return out
}

func (h *Host) handle(in Input, now time.Time) {
	switch in := in.(type) {
	case Start:
		h.start(in.Starting, now)
	case Retired:
		h.forget(in.Activation)
		h.kick(in.Activation.wakeAt(), now)
		h.leftParked(in.Activation, now)
	case Want:
		h.activate(in.RunID)
	case Deliver:
		h.tell(h.activate(in.RunID), in.Message, in.Sender)
	case StillBound:
		h.stillBound(in)
	case RowRead:
		h.rowRead(in)
	case News:
		h.news(in.Worker, now)
	case PlacementReset:
		h.tellAll(run.PlacementReset{})
	case Absent:
		h.tellAll(run.Absent{Absences: h.facts.Absences()})
	default:
		if !h.failure(in, now) && !h.reading(in, now) && !h.lining(in, now) {
			h.ownership(in, now)
		}
	}
}

// failure handles what went wrong with activations; false for other inputs.
func (h *Host) failure(in Input, now time.Time) bool {
	switch in := in.(type) {
	case Ended:
		died := h.active.Get(in.Activation.RunID) == in.Activation
		h.forget(in.Activation)
		if died {
			h.again(Again{in.Activation.RunID, LoadAgain{Failures: in.Activation.failures,
				Err: messages.Errorf(messages.CodeInternal, "the activation stopped by itself")}})
		}
	case Failed:
		h.setAside(in, now)
	case Again:
		h.again(in)
	case reload:
		if h.active.Get(in.runID) == nil && h.facts.Owns(in.runID) {
			h.spawn(&Activation{RunID: in.runID, failures: in.failures})
		}
	case Misplaced:
		if h.passing < passingMax {
			h.passing++
			h.act(SendOver{RunID: in.RunID, Result: in.Result, Sender: in.Sender})
		}
	case PassedOver:
		h.passing--
	default:
		return false
	}
	return true
}

// reading handles what comes of readings, and has them go on; false for other
// inputs.
func (h *Host) reading(in Input, now time.Time) bool {
	switch in := in.(type) {
	case Record:
		in.Of.job.(taker).record(h, in)
	case Head:
		in.Of.job.(*sweep).head(h, in, now)
	case Found:
		in.Of.job.(*dueSearch).found(h, in, now)
	case Page:
		in.Of.job.page(h, in, now)
	case goOn:
		in.job.read(h, now)
	case searchDue:
		h.dueSearch(in, now)
	case Moved:
		h.moved(now)
	default:
		return false
	}
	return true
}

// ownership handles what concerns the shards, and the sweep over them.
func (h *Host) ownership(in Input, now time.Time) {
	switch in := in.(type) {
	case Open:
		h.sweepLater(0)
		h.kick(now, now)
	case turn:
		h.sweepPart(in.part, now)
	case ViewChanged:
		h.viewChanged(in, now)
	case DeclaredGone:
		h.anew++
		h.later(anewAfter, beginAnew{h.anew})
	case beginAnew:
		if in.serial == h.anew {
			h.beginAnew()
		}
	case BeginAnew:
		h.beginAnew()
	case ShardsReleased:
		h.claim(in, now)
	case forgetIt:
		h.claims = slices.DeleteFunc(h.claims, func(c *claim) bool { return c == in.claim })
	case Offered:
		h.offered(in)
	case offerAgain:
		h.offer(in.release)
	case giveUp:
		h.released(in.release)
	}
}

func (h *Host) act(action Action) { h.out = append(h.out, action) }

func (h *Host) later(after time.Duration, in Input) { h.act(Later{After: after, Input: in}) }

func (h *Host) tell(a *Activation, message, sender any) {
	h.act(Tell{Activation: a, Message: message, Sender: sender})
}

func (h *Host) tellAll(message any) {
	for _, a := range h.All() {
		h.tell(a, message, nil)
	}
}

// activate returns the activation of a run, which is loaded if it is new.
func (h *Host) activate(runID string) *Activation {
	if a := h.active.Get(runID); a != nil {
		return a
	}
	return h.spawn(&Activation{RunID: runID})
}

// activateOwned activates a run on the host's own account.
func (h *Host) activateOwned(a *Activation) bool {
	if !h.owned[h.cfg.ShardOf(a.RunID)] {
		return false
	}
	if h.active.Get(a.RunID) == nil {
		h.spawn(a)
	}
	return true
}

func (h *Host) spawn(a *Activation) *Activation {
	h.serial++
	a.Serial, a.facts, a.cfg = h.serial, h.facts, &h.cfg.Run
	h.active.Set(a.RunID, a)
	h.act(Spawn{Activation: a})
	return a
}

// forget takes an activation out of the set; a later message makes a new one.
func (h *Host) forget(a *Activation) {
	if h.active.Get(a.RunID) == a {
		h.active.Delete(a.RunID)
	}
	h.leaveLine(a)
	h.gone(a)
}

// again loads a run after its activation failed, and a pause.
func (h *Host) again(in Again) {
	wait := againAfter
	if messages.CodeOf(in.Err) == messages.CodeJournalConflict {
		wait = againBehind
		h.act(Stir{})
	}
	wait = min(wait<<min(in.Failures, 10), againMost)
	h.act(LoadsAgain{RunID: in.RunID, In: wait, Err: in.Err})
	h.later(wait, reload{in.RunID, in.Failures + 1})
}
