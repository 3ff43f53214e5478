package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// leaving is what an activation knows of the way away from the bound worker.
// The zero value stays.
type leaving struct {
	// draining: the roster, or the worker itself, says so of the bound worker.
	draining bool
	// refused: the worker refused a dispatch because it drains. A HARD run tries
	// again after a while, which grows with the refusals in a row.
	refused   bool
	refusedAt time.Time
	refusals  int
	// stay: placement wants the run to make its next steps on the draining
	// worker all the same.
	stay bool
	// handOff is the local state that the run waits for before it leaves.
	handOff *handOff
	// move is the way from a busy worker; the next begins at moveRetryAt, no
	// sooner.
	move        *move
	moveRetryAt time.Time
}

// move is a SOFT run on its way from a busy worker to the one granted.
type move struct {
	to     *messages.Placed
	since  time.Time
	reason messages.Reason
}

// handOff is an open question for the local state of a run.
type handOff struct {
	reason messages.Reason
	// resumed: an earlier activation had asked, and its reason is not known.
	resumed bool
	// since is zero until the question was sent: attempts may still be live.
	since, sentAt time.Time
}

// undrained forgets what is known of a drain of the bound worker.
func (l *leaving) undrained() {
	l.draining, l.refused, l.stay, l.refusals = false, false, false, 0
}

// refuse notes that the draining worker refused a dispatch.
func (l *leaving) refuse(now time.Time) {
	l.draining, l.refused, l.refusedAt = true, true, now
	l.refusals++
}

// refusedMost is the longest wait of a HARD run between two tries at a worker
// that drains and whose deadline is over. Each try is an attempt and an entry,
// and the drain may last for weeks. That it is over is told at once.
const refusedMost = 5 * time.Minute

// refusedUntil is when a run that was refused by its draining worker tries
// again: after first, doubled with each refusal in a row.
func (l *leaving) refusedUntil(first time.Duration) time.Time {
	return l.refusedAt.Add(min(first<<min(max(l.refusals-1, 0), 16), refusedMost))
}

// under says that the run is on its way.
func (l *leaving) under() bool { return l.move != nil || l.handOff != nil }

// endMove gives up a move, and returns the grant that it had. The next try comes
// no sooner than retryAt.
func (l *leaving) endMove(retryAt time.Time) *messages.Placed {
	if l.move == nil {
		return nil
	}
	to := l.move.to
	l.move, l.moveRetryAt = nil, retryAt
	return to
}

// forget forgets what concerns the binding so far.
func (l *leaving) forget() {
	l.undrained()
	l.move, l.handOff = nil, nil
}

// timers: a move, or the wait for local state, ends, or the latter is asked for
// again.
func (l *leaving) timers(next *earliest, cfg *Config) {
	if l.move != nil {
		next.add(l.move.since.Add(cfg.MoveFor))
	}
	if h := l.handOff; h != nil && !h.since.IsZero() {
		next.add(h.since.Add(cfg.HandoffFor))
		next.add(h.sentAt.Add(cfg.ResendAfter))
	}
}

// ---- deciding ------------------------------------------------------------------

// moveTo binds the run to the worker granted, or, if it has local state to take
// along, gives the grant back and asks for the state first.
func (m *Machine) moveTo(p *messages.Placed, reason messages.Reason) {
	if !m.handsOff() {
		m.bind(p.Worker, reason, p.GrantId)
		return
	}
	m.questions.unuse(p)
	m.giveBack("", p.Question)
	m.leaving.handOff = &handOff{reason: reason}
	m.awaitHandOff()
}

// leave gives the binding to a live worker up. off is what the worker handed off;
// nil if it was not asked.
func (m *Machine) leave(reason messages.Reason, off *messages.StateHandedOff) {
	b := m.s.Binding
	if off != nil {
		m.emit(&messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: off}})
	}
	m.emit(&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: b.Epoch, Reason: reason}}})
	m.forgetBinding()
	m.gone.add(b.Worker, m.now)
	m.later(SendWorker{b.Worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: b.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND}})
	m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: b.Worker.WorkerId}})
}

// justLeft is the worker that the run has left a moment ago; empty for none. The
// run is not bound there again at once: placement may not have heard that it
// drains, or find it less busy without this run. After a while it counts again,
// for it may be the only one.
func (m *Machine) justLeft() string {
	b := m.s.Binding
	if !b.Lost || !m.s.soft() || !m.now.Before(b.LostAt.Add(goneFor)) {
		return ""
	}
	switch b.LostReason {
	case messages.Reason_REASON_WORKER_DRAINING, messages.Reason_REASON_WORKER_BUSY, messages.Reason_REASON_SLOTS_HELD:
		return b.Worker.WorkerId
	}
	return ""
}

// forgetBinding forgets what concerns the binding so far.
func (m *Machine) forgetBinding() {
	m.leaving.forget()
	m.spare, m.seen, m.fullAt = nil, nil, time.Time{}
}
