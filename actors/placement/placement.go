// Package placement decides which worker a run, or a step of a run that is
// not sticky, goes to, and which process may act under a worker id. It is a
// machine without a clock, a network or a goroutine: each input carries the
// time, and what is to be done comes back as Actions for the caller to carry
// out.
//
// Data flow: Register, LoadReport, Place, … → Core (workers, waiting
// questions) → Placed, PlaceWaiting, Admit, Refuse, Probe, …
//
// Binding is late: a question is answered with a worker only when one that
// fits has a free slot. Otherwise it waits here. Waiting questions are grouped
// into classes by what they require (workflow, steps, labels), so that a freed
// slot goes through classes, not through questions.
//
// Of the workers that fit a question, one goes before another by
//
//  1. the weight of its preferred labels: the greatest
//  2. shared state that the run asks for: one that holds it
//  3. its load: the least
//  4. its bound runs: the fewest
//
// Of the questions that fit a worker, one goes before another by
//
//  1. its priority
//  2. the turn of its workflow: the one that waited longest
//  3. the time at which its step became ready: the first
//
// # Shared state
//
// Each report of a worker names the keys of the shared state that it holds. A
// worker that was granted a run counts as a holder of the run's keys for
// PromisedFor, even if it does not report them yet: a burst of runs with one key
// goes to one worker.
//
// A question that asks for keys is answered with a holder that has a free slot
// and whose load is within the bound: the one that holds most of the keys, and of
// those the least loaded. If there is none the run does not wait. It goes where
// any other would, which makes that worker a holder too. So a hot key is held by
// as many workers as its load needs.
//
// The bound is that of consistent hashing with bounded loads (Mirrokni, Thorup,
// Zadimoghaddam, https://arxiv.org/abs/1608.01350): with the run, a worker's
// load is at most ⌈HeldLoadBound × (load of all + 1) × its share of the slots⌉,
// over all workers that fit as well, or at most HeldLoadFree of its slots,
// below which load is no reason to build again. The load is the slots that are
// taken; for a sticky run, which stays, the runs bound to the worker if those
// are more.
//
// A freed slot that questions wait for goes to one of the first 16 of the class
// in turn whose keys the worker holds, but no question is passed over so more
// than 8 times.
//
// Simulated (BenchmarkHeldKeys: 10 workers of 10 slots, 300 keys by Zipf's law
// with exponent 1.1, 40 unused values kept by each worker, a build takes as long
// as four steps; builds for 100 runs, and the work of the busiest worker by the
// mean; of 5,000 runs, of which at least 5.9 in 100 build, for they are the
// first to ask for their key):
//
//	                    at random    least loaded   1.25          no bound
//	steps, 20 % busy    37.2  1.12   37.4  1.01     10.5  1.03     5.9  1.32
//	steps, 60 % busy    35.9  1.01   35.7  1.00      9.6  1.01    12.5  1.01
//	steps, 80 % busy    35.7  1.01   35.7  1.01     10.9  1.01    11.2  1.01
//	sticky, 50 % busy   34.5  1.02   34.7  1.00     13.9  1.01    11.4  1.01
//	sticky, mostly idle 30.4  1.01   30.7  1.01     11.8  1.01    12.6  1.01
//
// At one moment the busiest worker has 1.4 times the mean of the slots taken in
// the first of these, instead of 1.2 times by least load.
//
// # Moves
//
// A run that may leave its draining worker asks with Place.move. No more than
// MovesPerSecond such questions are granted in a second, and as many at once. A
// question beyond that for which there is a worker is answered PlaceWaiting.stay
// and not kept: the run makes its next step where it is. Only a grant counts. A
// new placement begins with a full second's worth.
//
// Invariants, checked by Core.Check:
//
//	P1: the grants that a worker has not seen, and what it runs and queues,
//	    do not exceed its slots, unless its own report already does.
//	P2: a run is granted only a worker that has all its steps and every
//	    required label, and that the question does not exclude.
//	P3: runs known to be bound to a worker do not exceed its StickyRunsMax
//	    by a grant.
//	P4: no question waits while a worker that fits it is open.
//	P5: at most one question of a run and step is kept.
//	P6: a worker is taken for the holder of a key if and only if its newest
//	    report names the key, or a run with it was granted it of late.
//
// All of it is soft state: workers report again and runs ask again when a new
// Core begins. A worker that another placement may have granted just before
// gets nothing until that shows in its reports (SettleFor). The runs bound to a
// worker that has a StickyRunsMax are read from the journal (ListBound) before
// the first sticky run is granted to it.
//
// Imports only heap and messages.
package placement

import (
	"math"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Config of a Core. Zero fields take their defaults.
type Config struct {
	// Pool of workers that the core serves. Defaults to "default".
	Pool string
	// SeenWithin is the time in which a granted worker must report that the
	// grant's dispatch arrived; after it the slot is free again. Answered and
	// withdrawn questions are remembered as long. Defaults to 5 s.
	SeenWithin time.Duration
	// AskedWithin is the time after which a waiting question that was not asked
	// again is dropped, at the latest after twice that. Runs ask every 30 s.
	// Defaults to 100 s.
	AskedWithin time.Duration
	// SilentAfter is the time without a LoadReport after which a worker gets
	// no grants until it reports again. Defaults to 5 s.
	SilentAfter time.Duration
	// ReasonEvery is the least time between two rounds in which waiting
	// questions are told that the reason why they wait has changed. Defaults
	// to 1 s.
	ReasonEvery time.Duration
	// RelistEvery is the least time between two readings of the runs bound to
	// one worker that succeeded. Defaults to 10 s.
	RelistEvery time.Duration
	// ConfirmWithin is the time in which an admitted worker must be seen in
	// the membership; after it, silent, it is forgotten. Defaults to 10 s.
	ConfirmWithin time.Duration
	// SettleFor is how long a worker that was placed on before gets no grants:
	// what another placement granted is on its way to it, and shows in its
	// reports by then. Defaults to 150 ms; negative is none.
	SettleFor time.Duration
	// GrantsAfter is a number below all grants: the microsecond at which the
	// core begins, so that no two placements make the same. 0 will do for one.
	GrantsAfter uint64
	// QuestionsMax limits the questions that are kept. A question beyond it is
	// answered PlaceWaiting and not kept. Defaults to 1,000,000.
	QuestionsMax int
	// ClassesMax is the number of classes above which those without waiting
	// questions are dropped. Defaults to 1,024.
	ClassesMax int
	// MovesPerSecond is how many runs may leave draining workers in a second,
	// and how many at once. 0 means 200; negative is no limit.
	MovesPerSecond int
	// HeldLoadBound is how many times the mean load of the workers that fit one
	// may be loaded that is preferred for the keys it holds. 0 means 1.25, less
	// than 1 is taken for 1; negative: what workers hold is of no account.
	HeldLoadBound float64
	// HeldLoadFree is the share of its slots up to which a worker may be loaded
	// whatever the mean is. 0 means 0.25; negative is none.
	HeldLoadFree float64
	// PromisedFor is how long a worker that was granted a run counts as holding
	// the run's keys without reporting them. Defaults to 10 s.
	PromisedFor time.Duration
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	c.Pool = messages.EffectivePool(c.Pool)
	orDuration(&c.SeenWithin, 5*time.Second)
	orDuration(&c.AskedWithin, 100*time.Second)
	orDuration(&c.SilentAfter, 5*time.Second)
	orDuration(&c.ReasonEvery, time.Second)
	orDuration(&c.RelistEvery, 10*time.Second)
	orDuration(&c.ConfirmWithin, 10*time.Second)
	switch {
	case c.SettleFor == 0:
		c.SettleFor = 150 * time.Millisecond
	case c.SettleFor < 0:
		c.SettleFor = 0
	}
	if c.QuestionsMax <= 0 {
		c.QuestionsMax = 1_000_000
	}
	if c.ClassesMax <= 0 {
		c.ClassesMax = 1024
	}
	if c.MovesPerSecond == 0 {
		c.MovesPerSecond = 200
	}
	if c.HeldLoadBound == 0 {
		c.HeldLoadBound = 1.25
	}
	if c.HeldLoadFree == 0 {
		c.HeldLoadFree = 0.25
	}
	orDuration(&c.PromisedFor, 10*time.Second)
	return c
}

// milli is a factor in thousandths: sums of these are exact on every machine.
func milli(f float64) int64 { return int64(math.Round(1000 * min(f, 1_000_000))) }

// bound is HeldLoadBound in thousandths, -1 if what workers hold is of no
// account.
func (c Config) bound() int64 {
	if c.HeldLoadBound < 0 {
		return -1
	}
	return max(1000, milli(c.HeldLoadBound))
}

// Core is the placement of one pool. It is not safe for concurrent use: one
// actor owns it. Times that are given to it must not go back.
type Core struct {
	cfg Config

	workers map[string]*worker // by worker id
	seats   []*worker          // by seat; nil where a worker has gone
	vacant  []int              // free seats
	open    []*worker          // with a free slot, not draining
	// Grow when a reason to wait may change: fleet with the workers and their
	// slots, caps when a worker reaches or leaves its StickyRunsMax.
	fleet, caps uint64
	// Last reports of workers that are not known yet.
	early map[string]earlyReport

	entrants map[string]*entrant // by worker id: being admitted

	questions map[questionKey]*question // newest of each run and step
	classes   map[string]*class         // by requirement
	bands     [priorities]band          // waiting, by priority
	expiring  fifo[*question]           // answered or withdrawn, by time
	asked     fifo[*question]           // were waiting when they were put here
	waiting   int
	waited    map[messages.WaitReason]time.Duration // see Figures
	seq       uint64                                // order of arrival
	grantID   uint64

	held                  heldIndex
	boundMilli, freeMilli int64
	moves                 pacer

	// Of the last round in which changed reasons were told.
	toldFleet, toldCaps uint64
	toldAt              time.Time

	out []Action
}

// New returns a placement that knows no worker and no question.
func New(cfg Config) *Core {
	cfg = cfg.withDefaults()
	return &Core{
		cfg:       cfg,
		workers:   map[string]*worker{},
		early:     map[string]earlyReport{},
		entrants:  map[string]*entrant{},
		questions: map[questionKey]*question{},
		classes:   map[string]*class{},
		waited:    map[messages.WaitReason]time.Duration{},
		grantID:   cfg.GrantsAfter,
		held:      heldIndex{by: map[uint64][]*worker{}}, boundMilli: cfg.bound(), freeMilli: max(0, milli(cfg.HeldLoadFree)),
		moves: pacer{perSecond: cfg.MovesPerSecond},
	}
}

// Action is something for the caller to do. Actions are to be carried out in
// order.
type Action interface{ action() }

// Answer is to be sent to the asker of a question: exactly one of Placed and
// Waiting is set.
type Answer struct {
	// PID of the run that asked.
	Address, ActorID string
	Placed           *messages.Placed
	Waiting          *messages.PlaceWaiting
}

// Introduce says that a worker that is not known reported: it is to be asked
// to register, or described.
type Introduce struct{ WorkerID, Incarnation string }

// Summon asks a worker that is known and does not report to report here: it may
// take another placement for the pool's.
type Summon struct{ WorkerID, Incarnation string }

// ListBound asks for the ids of the unfinished runs bound to a worker as the
// journal has them from now on, to be given to BoundRuns, or for
// BoundRunsFailed.
type ListBound struct{ WorkerID string }

// Probe asks whether a process still lives under a worker id: describe it, to
// ProbeAnswered or ProbeFailed.
type Probe struct {
	WorkerID string
	// Incarnation that wants to be admitted.
	Incarnation string
	Rival       Rival
}

// Record asks for the worker's definitions to be made durable, then Recorded.
type Record struct{ Worker *messages.WorkerInfo }

// Admit answers the Register of a worker that is now placed on.
type Admit struct{ Worker *messages.WorkerInfo }

// Wait answers a Register that is to be repeated in a moment.
type Wait struct{ WorkerID, Incarnation, Message string }

// Refuse answers a Register for good.
type Refuse struct {
	WorkerID, Incarnation string
	Err                   error
}

func (Answer) action()    {}
func (Introduce) action() {}
func (Summon) action()    {}
func (ListBound) action() {}
func (Probe) action()     {}
func (Record) action()    {}
func (Admit) action()     {}
func (Wait) action()      {}
func (Refuse) action()    {}

func (c *Core) emit(a Action) { c.out = append(c.out, a) }

// take returns what the present input is answered with.
func (c *Core) take() []Action {
	out := c.out
	c.out = nil
	return out
}

// Waiting is the number of questions that wait for a worker.
func (c *Core) Waiting() int { return c.waiting }

// Load is a worker as placement sees it.
type Load struct {
	WorkerID, Incarnation string
	Slots                 int
	// As last reported.
	Running, Queued int
	// Granted, and not yet reported as seen.
	Granted int
	// Runs bound to the worker: as the journal has them if it has a
	// StickyRunsMax, as last reported otherwise.
	BoundRuns  int
	Draining   bool
	ReportedAt time.Time // zero before the first report
}

// Loads returns the figures of all workers, in no order.
func (c *Core) Loads() []Load {
	out := make([]Load, 0, len(c.workers))
	for _, w := range c.workers {
		out = append(out, w.figures())
	}
	return out
}

// NeedsTick says whether Tick has something to wait for: questions that wait,
// grants that may expire, workers or readings that are awaited. Without any
// the caller may stop its ticker until the next input.
func (c *Core) NeedsTick() bool {
	if c.waiting > 0 || c.expiring.len() > 0 || len(c.entrants) > 0 || len(c.early) > 0 {
		return true
	}
	for _, w := range c.workers {
		if !w.confirmed || w.settling || (w.sticky != nil && !w.sticky.known) {
			return true
		}
	}
	return false
}

// Tick lets time pass: some 10 times a second while NeedsTick.
func (c *Core) Tick(now time.Time) []Action {
	c.expire(now)
	c.held.forget(now)
	c.forgetUnasked(now)
	c.forgetUnconfirmed(now)
	c.settleWorkers(now)
	c.relist(now)
	c.summon(now)
	c.tellReasons(now)
	c.dropIdleClasses()
	return c.take()
}

// forgetUnconfirmed drops what announced itself and was never seen again.
func (c *Core) forgetUnconfirmed(now time.Time) {
	for _, w := range c.seats {
		if w == nil {
			continue
		}
		c.noteSilence(w, now)
		if !w.confirmed && now.Sub(w.heardAt()) > c.cfg.ConfirmWithin {
			c.removeWorker(w)
		}
	}
	for id, e := range c.entrants {
		if now.Sub(e.at) > c.cfg.ConfirmWithin {
			delete(c.entrants, id)
		}
	}
	for id, e := range c.early {
		if now.Sub(e.at) > c.cfg.ConfirmWithin {
			delete(c.early, id)
		}
	}
}
