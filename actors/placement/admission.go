package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// RivalState is what another process says of itself in the membership.
type RivalState uint8

const (
	// RivalJoining has not been admitted as far as the membership knows.
	RivalJoining RivalState = iota
	RivalReady
	RivalDraining
)

// Rival is a process of the membership with the worker id in question.
type Rival struct {
	WorkerID, Incarnation string
	// PID of its worker actor.
	Address, ActorID string
	State            RivalState
}

type entrantPhase uint8

const (
	phaseProbing entrantPhase = iota
	phaseRecording
)

// entrant is a process on its way to be admitted.
type entrant struct {
	info  *messages.WorkerInfo
	phase entrantPhase
	// known: the membership has it as admitted before, by another placement.
	known  bool
	rivals []Rival // to be probed, the present one first
	at     time.Time
}

// Register asks for a worker to be admitted. rivals are the processes that the
// membership has under its id: the others, and itself. The answer, for this
// incarnation, is Admit, Refuse or Wait, perhaps after Probe and Record.
//
// The first process of an id is admitted. What becomes of a second one:
//
//	the first takes new runs           Refuse
//	the first drains                   Wait: it serves the runs bound to it. If it
//	                                   ends the drain it keeps the id
//	the first is silent, and the       Wait
//	membership has not given it up
//	the first is gone                  Admit: never are both
func (c *Core) Register(info *messages.WorkerInfo, rivals []Rival, now time.Time) []Action {
	id, incarnation := info.GetWorkerId(), info.GetIncarnation()
	if err := c.checkWorker(info); err != nil {
		c.emit(Refuse{id, incarnation, err})
		return c.take()
	}
	w, e := c.workers[id], c.entrants[id]
	switch {
	case w != nil && w.info.GetIncarnation() == incarnation:
		c.emit(Admit{w.info})
	case w != nil && w.replaced == incarnation:
		c.emit(Refuse{id, incarnation, messages.Errorf(messages.CodeWorkerSuperseded,
			"worker id %q: this process was given up, and the one at %s was admitted", id, where(w.info))})
	case e != nil && e.info.GetIncarnation() == incarnation:
		c.emit(Wait{id, incarnation, "worker " + id + " is being admitted"})
	case e != nil && e.phase == phaseRecording:
		c.emit(Wait{id, incarnation, fmt.Sprintf("the process at %s is being admitted as worker %s", where(e.info), id)})
	default:
		if e != nil {
			c.emit(Wait{id, e.info.GetIncarnation(), fmt.Sprintf("the process at %s asks to be worker %s too", where(info), id)})
		}
		e = &entrant{info: info, rivals: c.serious(info, rivals, now), known: known(info, rivals), at: now}
		c.entrants[id] = e
		c.advance(e)
	}
	return c.take()
}

// known says that a process was admitted before.
func known(info *messages.WorkerInfo, there []Rival) bool {
	return slices.ContainsFunc(there, func(r Rival) bool {
		return r.Incarnation == info.GetIncarnation() && r.State != RivalJoining
	})
}

// serious returns the rivals that may have been admitted before. Of two that
// were, on the two sides of a partition, the one that began later stays, as the
// rosters of all servers have it: the other one is no rival of it.
func (c *Core) serious(info *messages.WorkerInfo, rivals []Rival, now time.Time) []Rival {
	var out []Rival
	w := c.workers[info.GetWorkerId()]
	both := known(info, rivals)
	for _, r := range rivals {
		if r.Incarnation == info.GetIncarnation() {
			continue
		}
		if both && r.State == RivalReady && r.Incarnation < info.GetIncarnation() {
			if w != nil && w.info.GetIncarnation() == r.Incarnation {
				w = nil
			}
			continue
		}
		current := w != nil && w.info.GetIncarnation() == r.Incarnation
		if current || r.State != RivalJoining {
			out = append(out, r)
		}
		if current {
			w = nil
		}
	}
	// Admitted here, but the membership has not heard of it yet.
	if w != nil && !w.confirmed && now.Sub(w.heardAt()) <= c.cfg.SilentAfter {
		out = append(out, Rival{WorkerID: w.id(), Incarnation: w.info.GetIncarnation(),
			Address: w.info.GetAddress(), ActorID: w.info.GetActorId(), State: RivalReady})
	}
	return out
}

// advance goes on to the next rival, or to the recording.
func (c *Core) advance(e *entrant) {
	id, incarnation := e.info.GetWorkerId(), e.info.GetIncarnation()
	if len(e.rivals) == 0 {
		e.phase = phaseRecording
		c.emit(Record{e.info})
		return
	}
	// One that drains as far as the membership knows is asked too: it may have
	// ended by now, or take new runs again.
	e.phase = phaseProbing
	c.emit(Probe{WorkerID: id, Incarnation: incarnation, Rival: e.rivals[0]})
}

func (c *Core) entrantOf(workerID, incarnation string, phase entrantPhase) *entrant {
	e := c.entrants[workerID]
	if e == nil || e.info.GetIncarnation() != incarnation || e.phase != phase {
		return nil
	}
	return e
}

// probing returns the entrant that a probe is for, if it still waits for its
// answer: it may have given up since, come again, and wait for another one's.
func (c *Core) probing(p Probe) *entrant {
	e := c.entrantOf(p.WorkerID, p.Incarnation, phaseProbing)
	if e == nil || e.rivals[0].Incarnation != p.Rival.Incarnation {
		return nil
	}
	return e
}

// ProbeAnswered says that the probed rival lives: by is what it says of
// itself.
func (c *Core) ProbeAnswered(p Probe, by *messages.WorkerInfo, draining bool) []Action {
	workerID, incarnation := p.WorkerID, p.Incarnation
	if c.probing(p) == nil {
		return c.take()
	}
	delete(c.entrants, workerID)
	if draining {
		c.emit(Wait{workerID, incarnation, fmt.Sprintf("worker id %q belongs to its former process at %s, which drains; waiting for it to end", workerID, where(by))})
		return c.take()
	}
	c.emit(Refuse{workerID, incarnation, messages.Errorf(messages.CodeWorkerIDTaken,
		"worker id %q is taken by the live process at %s", workerID, where(by))})
	return c.take()
}

// ProbeFailed says that the probed rival did not answer; gone means that there
// is certainly no such process any more (nobody listens at its address, or
// somebody else does).
func (c *Core) ProbeFailed(p Probe, gone bool, now time.Time) []Action {
	workerID, incarnation := p.WorkerID, p.Incarnation
	e := c.probing(p)
	if e == nil {
		return c.take()
	}
	if gone {
		e.rivals, e.at = e.rivals[1:], now
		c.advance(e)
		return c.take()
	}
	delete(c.entrants, workerID)
	silent := "which"
	if e.rivals[0].State == RivalDraining {
		silent = "which drained and"
	}
	c.emit(Wait{workerID, incarnation, fmt.Sprintf(
		"worker id %q belongs to the process at %s, %s does not answer; waiting until the membership gives it up",
		workerID, c.whereIs(e.rivals[0]), silent)})
	return c.take()
}

// Recorded says that the definitions of a worker are durable, or why not.
func (c *Core) Recorded(workerID, incarnation string, err error, now time.Time) []Action {
	e := c.entrantOf(workerID, incarnation, phaseRecording)
	if e == nil {
		return c.take()
	}
	delete(c.entrants, workerID)
	switch {
	case err == nil:
		c.admit(e, now)
	case messages.CodeOf(err).Retryable():
		c.emit(Wait{workerID, incarnation, "the definitions of worker " + workerID + " could not be recorded yet: " + err.Error()})
	default:
		c.emit(Refuse{workerID, incarnation, err})
	}
	return c.take()
}

func (c *Core) admit(e *entrant, now time.Time) {
	info := e.info
	replaced := ""
	if w := c.workers[info.GetWorkerId()]; w != nil {
		replaced = w.info.GetIncarnation()
		c.removeWorker(w)
	}
	w := c.addWorker(info, e.known && c.cfg.SettleFor > 0, now)
	w.replaced, w.admitted = replaced, true
	c.emit(Admit{info})
	c.fill(w, now)
}

// checkWorker reports all that is wrong with what a worker says of itself: an
// error with the code of the first fault and the texts of all.
func (c *Core) checkWorker(info *messages.WorkerInfo) error {
	faults := append(c.checkProcess(info), checkWorkflows(info)...)
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	texts := make([]string, len(faults))
	for i, err := range faults {
		texts[i] = err.Error()
		var e *messages.Error
		if errors.As(err, &e) {
			texts[i] = e.Message
		}
	}
	return messages.Errorf(messages.CodeOf(faults[0]), "%s", strings.Join(texts, "; "))
}

func (c *Core) checkProcess(info *messages.WorkerInfo) []error {
	var faults []error
	check := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	fault := func(format string, args ...any) {
		check(messages.Errorf(messages.CodeInvalidArgument, format, args...))
	}
	check(messages.CheckName("worker id", info.GetWorkerId()))
	if info.GetIncarnation() == "" || info.GetAddress() == "" || info.GetActorId() == "" {
		fault("worker %q: incarnation, address or actor id is missing", info.GetWorkerId())
	}
	if pool := messages.EffectivePool(info.GetPool()); pool != c.cfg.Pool {
		fault("worker %q is of pool %q, this is pool %q", info.GetWorkerId(), pool, c.cfg.Pool)
	}
	if n := info.GetSlots(); n < 1 || n > messages.SlotsMax {
		fault("slots %d: must be 1 to SlotsMax = %d", n, messages.SlotsMax)
	}
	if n := info.GetStickyRunsMax(); n < 0 {
		fault("sticky runs max %d: must be positive, or 0 for no limit", n)
	}
	check(messages.ValidateLabels(info.GetLabels()))
	check(messages.CheckWorkflows(info.GetWorkflows()))
	return faults
}

func checkWorkflows(info *messages.WorkerInfo) []error {
	var faults []error
	seen := map[string]bool{}
	pool := messages.EffectivePool(info.GetPool())
	for _, d := range info.GetWorkflows() {
		name := d.GetName()
		if err := messages.ValidateDefinition(d); err != nil {
			faults = append(faults, err)
			continue
		}
		if seen[name] {
			faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q is registered twice", name))
		}
		seen[name] = true
		if d.EffectivePool() != pool {
			faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition,
				"workflow %q is of pool %q, its worker of pool %q: no run would find it", name, d.EffectivePool(), pool))
		}
		if info.GetWebhook() && d.GetSticky() != messages.Sticky_STICKY_NONE {
			faults = append(faults, messages.Errorf(messages.CodeStickyNeedsLongLived,
				"workflow %q is sticky (%s), but worker %q serves its steps by webhook and cannot hold their state",
				name, strings.TrimPrefix(d.GetSticky().String(), "STICKY_"), info.GetWorkerId()))
		}
	}
	return faults
}

// where names a process: "127.0.0.1:4001 (host h, process 12)".
func where(info *messages.WorkerInfo) string {
	return fmt.Sprintf("%s (host %s, process %d)", info.GetAddress(), info.GetHost(), info.GetProcessId())
}

func (c *Core) whereIs(r Rival) string {
	if w := c.workers[r.WorkerID]; w != nil && w.info.GetIncarnation() == r.Incarnation {
		return where(w.info)
	}
	return r.Address
}
