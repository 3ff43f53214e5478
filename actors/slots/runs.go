package slots

import (
	"container/list"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// run is what a worker knows of a run: attempts that it holds, and for each
// step the newest attempt that it heard of.
type run struct {
	id string
	// held attempts: queued, running, or with a result that is kept.
	held []*attempt
	// marks by step; few enough to be searched one by one.
	marks []mark
	epoch uint64
	// reply is the actor of the run that was heard last; zero for none.
	reply Address
	// bound: a sticky run that was not released under its epoch.
	bound bool
	hard  bool
	// handsOff: it is SOFT, bound, and has local state that it hands off.
	handsOff bool
	// handing: it is doing so.
	handing bool
	// unwinding counts the functions of suspended attempts that are about to return, by
	// their step.
	unwinding map[string]int
	// handOffAsked is the question for its state that came while there were some.
	handOffAsked *messages.HandOff
	// heardAt is when something of it came, or the owner was asked about it;
	// asked is its place among the bound runs by that; nil while not bound.
	heardAt time.Time
	asked   *list.Element
	// releasedEpoch and those before it are over; 0 for none.
	releasedEpoch uint64
	// handedEpoch and those before it have been handed off; 0 for none.
	handedEpoch uint64
	// resting is the place among the runs with nothing held; nil outside.
	resting *list.Element
	weight  int // when it began to rest
}

type markState uint8

const (
	markHeld         markState = iota + 1
	markAcknowledged           // its run has the result
	markWithdrawn              // revoked, canceled unseen, or given up: never to be started
)

// mark is the newest attempt of a step that the worker heard of.
type mark struct {
	step   string
	number int32
	epoch  uint64
	state  markState
}

// olderThan says whether a Dispatch is news after the mark.
func (m *mark) olderThan(d *messages.Dispatch) bool {
	if d.Attempt != m.number {
		return d.Attempt > m.number
	}
	return m.state != markWithdrawn && !d.TakeUp && d.Epoch > m.epoch
}

func (r *run) find(step string, number int32) *attempt {
	for _, a := range r.held {
		if a.number == number && a.step == step {
			return a
		}
	}
	return nil
}

func (r *run) drop(a *attempt) {
	for i, h := range r.held {
		if h == a {
			last := len(r.held) - 1
			copy(r.held[i:], r.held[i+1:])
			r.held[last] = nil
			r.held = r.held[:last]
			return
		}
	}
}

func (r *run) mark(step string) *mark {
	for i := range r.marks {
		if r.marks[i].step == step {
			return &r.marks[i]
		}
	}
	return nil
}

// setMark records an attempt unless a newer one of the step is known.
func (r *run) setMark(step string, number int32, epoch uint64, state markState) {
	m := r.mark(step)
	if m == nil {
		r.marks = append(r.marks, mark{step: step})
		m = &r.marks[len(r.marks)-1]
	}
	if number > m.number || number == m.number && epoch >= m.epoch {
		m.number, m.epoch, m.state = number, epoch, state
	}
}

// idleRuns are the runs with nothing held, the longest resting first.
type idleRuns struct {
	order  list.List
	weight int
}

// touch returns the run with an id, made if it is not known, and lets it not
// rest.
func (c *Core) touch(runID string) *run {
	r := c.runs[runID]
	if r == nil {
		r = &run{id: runID}
		c.runs[runID] = r
	}
	c.wake(r)
	return r
}

func (c *Core) wake(r *run) {
	if r.resting != nil {
		c.idle.order.Remove(r.resting)
		c.idle.weight -= r.weight
		r.resting = nil
	}
}

// rest puts a run with nothing held among the idle ones and forgets the oldest
// of those beyond MarksMax. The epoch of a released run stands for its marks,
// except for those whose epoch is not known.
func (c *Core) rest(r *run) {
	if len(r.held) > 0 || r.resting != nil {
		return
	}
	if r.releasedEpoch > 0 && !r.bound {
		r.marks = slices.DeleteFunc(r.marks, func(m mark) bool { return m.epoch > 0 && m.epoch <= r.releasedEpoch })
	}
	r.held = nil
	r.weight = max(1, len(r.marks))
	r.resting = c.idle.order.PushBack(r)
	c.idle.weight += r.weight
	for c.idle.weight > c.cfg.MarksMax {
		oldest := c.idle.order.Front().Value.(*run)
		c.wake(oldest)
		c.unbind(oldest)
		c.forgetReply(oldest)
		delete(c.runs, oldest.id)
	}
}

// replyTo makes an actor of a run the one that answers go to.
func (c *Core) replyTo(r *run, from Address) {
	if from == (Address{}) || from == r.reply {
		return
	}
	c.forgetReply(r)
	r.reply = from
	c.replies[from] = r
}

func (c *Core) forgetReply(r *run) {
	if c.replies[r.reply] == r {
		delete(c.replies, r.reply)
	}
	r.reply = Address{}
}

// rebound counts a run among those that are bound here.
func (c *Core) rebound(now time.Time, r *run, d *messages.Dispatch) {
	if d.Sticky != messages.Sticky_STICKY_NONE && d.Epoch > max(r.epoch, 1) {
		// The run was bound anew since; that it was released may not have been
		// heard, or is forgotten.
		c.released(r.id, d.Epoch-1, messages.ReleaseReason_RELEASE_REASON_REBOUND)
	}
	r.epoch = max(r.epoch, d.Epoch)
	if d.Sticky != messages.Sticky_STICKY_NONE && !r.bound {
		r.bound, r.hard = true, d.Sticky == messages.Sticky_STICKY_HARD
		r.handsOff = !r.hard && c.cfg.HandsOff(d.Workflow)
		c.asks.add(r, now)
		c.bound++
		if r.hard {
			c.hard++
		}
		if r.handsOff {
			c.handsOff++
		}
		c.load.dirty = true
	}
}

// releasedUnder says whether the run was released under the epoch of a Dispatch
// or a later one.
func (c *Core) releasedUnder(d *messages.Dispatch) bool {
	r := c.runs[d.RunId]
	return r != nil && d.Sticky != messages.Sticky_STICKY_NONE && d.Epoch <= r.releasedEpoch
}

// unbind takes a run off those that are bound here. It does not wait any more
// for local state that it hands off.
func (c *Core) unbind(r *run) {
	if r.bound {
		r.bound = false
		c.asks.remove(r)
		c.bound--
		if r.hard {
			c.hard--
		}
		if r.handsOff {
			c.handsOff--
		}
		if r.handing {
			r.handing = false
			c.drain.handing--
		}
		c.load.dirty = true
	}
}

// released says that what a run has here under an epoch is over.
func (c *Core) released(runID string, epoch uint64, reason messages.ReleaseReason) {
	if reason != messages.ReleaseReason_RELEASE_REASON_RUN_ENDED && reason != messages.ReleaseReason_RELEASE_REASON_IDLE {
		reason = messages.ReleaseReason_RELEASE_REASON_REBOUND
	}
	c.out = append(c.out, Action{Kind: Released, RunID: runID, Epoch: epoch, Reason: reason})
}

// HandOff says that the state of a run was asked for, because the run leaves:
// nothing is executed of it any more under that epoch. It is false for a question
// that means nothing.
func (c *Core) HandOff(now time.Time, m *messages.HandOff) ([]Action, bool) {
	if !c.begin() {
		return nil, false
	}
	r := c.touch(m.RunId)
	means := c.mayHandOff(r, m)
	if means {
		r.handedEpoch = max(r.handedEpoch, m.Epoch)
		for _, a := range slices.Clone(r.held) {
			if a.phase == phaseQueued && a.epoch <= m.Epoch {
				c.turnAway(a, messages.Reason_REASON_HANDED_OFF)
			}
		}
	}
	c.rest(r)
	return c.end(now), means
}

// mayHandOff says that the question for the state of a run means something.
func (c *Core) mayHandOff(r *run, m *messages.HandOff) bool {
	switch {
	case c.fromBefore(m.LeaseTerm):
		// It may be late: see LeaseEnded.
		return false
	case m.Epoch <= r.releasedEpoch:
		// The run has left under that epoch.
		return false
	case len(r.unwinding) > 0:
		// They may use the state. See unwound.
		r.handOffAsked = m
		return false
	}
	// An activation that asks while an attempt is executed is behind the journal.
	return !slices.ContainsFunc(r.held, func(a *attempt) bool {
		return a.phase != phaseQueued && a.phase != phaseEnded && a.epoch <= m.Epoch
	})
}

// handedOffUnder says whether the state of the run has left under the epoch of
// a Dispatch or a later one.
func (c *Core) handedOffUnder(d *messages.Dispatch) bool {
	r := c.runs[d.RunId]
	return r != nil && d.Sticky != messages.Sticky_STICKY_NONE && d.Epoch <= r.handedEpoch
}

// share gives an attempt the input of another one of its run; false if there is none.
func (c *Core) share(d *messages.Dispatch) bool {
	r := c.runs[d.RunId]
	if r == nil {
		return false
	}
	for _, a := range r.held {
		if a.dispatch != nil {
			d.Input = a.dispatch.Input
			return true
		}
	}
	return false
}
