package verdict

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// HardReturn names the recovery of HARD runs after the death of their worker;
// it is no fault of its own.
const HardReturn Kind = "hard_return"

const (
	// heldUpAfter is how much later than its function returned a result is
	// recorded at most while nothing is wrong.
	heldUpAfter = 300 * time.Millisecond
	// restAfter is how long a fault that has been undone may still show.
	restAfter = time.Second
	// outageMost is how long after a server was struck results may be held up
	// by it.
	outageMost = 15 * time.Second
	// frozenLeast is how long a worker must be frozen for its steps to be
	// expected elsewhere.
	frozenLeast = 5 * time.Second
)

// recovery measures each fault during whose recovery no other was in force.
func (c *checker) recovery() {
	for i := range c.faults {
		f := &c.faults[i]
		switch f.Kind {
		case WorkerKill, WorkerStop:
			var m measure
			c.movedAfter(f, f.Target, &m)
			c.sample(f, f.Kind, m)
			if f.Kind == WorkerKill {
				c.sample(f, HardReturn, c.hardReturn(f))
			}
		case ServerKill, ServerStop, ServerLeave:
			var m measure
			c.heldUpUntil(f, &m)
			c.sample(f, f.Kind, m)
		case Partition, PartitionSplit:
			var m measure
			c.heldUpUntil(f, &m)
			for _, id := range append(slices.Clone(f.Nodes), f.Target) {
				c.movedAfter(f, id, &m)
			}
			c.sample(f, Partition, m)
		case Cut:
			c.sample(f, Cut, c.stalled(f))
		case PostgresRestart, PostgresKill, PostgresFreeze:
			c.sample(f, f.Kind, c.firstEntry(f))
		}
	}
}

// measure is how long something took at most, and the workers that had a part
// in it.
type measure struct {
	took    time.Duration
	workers []string
}

func (m *measure) add(took time.Duration, workers ...string) {
	m.took = max(m.took, took)
	m.workers = append(m.workers, workers...)
}

// sample keeps a figure unless it is 0, for nothing was stopped, or another
// fault was in force before it ended that could have delayed it: one on a
// worker that had a part in it, or on anything but workers.
func (c *checker) sample(f *Fault, kind Kind, m measure) {
	if m.took <= 0 {
		return
	}
	end := f.At.Add(m.took)
	if kind == Cut {
		end = f.Until
	}
	if kind == HardReturn || kind == PostgresRestart || kind == PostgresKill || kind == PostgresFreeze {
		end = f.Until.Add(m.took)
	}
	for i := range c.faults {
		o := &c.faults[i]
		if o == f || o.At.After(end) || o.onWorker() && !slices.Contains(m.workers, o.Target) {
			continue
		}
		if o.Until.IsZero() || o.Until.Add(restAfter).After(f.At) {
			return
		}
	}
	r := c.report.Recovery[kind]
	r.Samples = append(r.Samples, m.took.Seconds())
	c.report.Recovery[kind] = r
}

// runningIn are the executions that were under way in a process at the time.
func (c *checker) runningIn(p *ledger.Process, at time.Time) []*ledger.Execution {
	var all []*ledger.Execution
	for i := range c.evidence.Executions {
		e := &c.evidence.Executions[i]
		if e.Incarnation == p.Incarnation && !e.Begin.After(at) && (e.End.IsZero() || e.End.After(at)) {
			all = append(all, e)
		}
	}
	return all
}

// next is the execution of the same step after the one, if there is one.
func (h *history) next(e *ledger.Execution) *ledger.Execution {
	for _, n := range h.executions {
		if n.Step == e.Step && n.Attempt > e.Attempt {
			return n
		}
	}
	return nil
}

// movedAfter measures how long after the fault the last of the steps began
// elsewhere that were running in the process it struck.
func (c *checker) movedAfter(f *Fault, worker string, m *measure) {
	p := c.struck(f, worker)
	if p == nil {
		return
	}
	for _, e := range c.runningIn(p, f.At) {
		h := c.runs[e.Run]
		if h == nil || h.sticky() == messages.Sticky_STICKY_HARD || h.sawCancel() {
			continue
		}
		next := h.next(e)
		a := h.byKey[attemptKey{e.Step, int32(e.Attempt)}]
		switch {
		case a != nil && a.ending == lost && next != nil && next.Incarnation != e.Incarnation:
			m.add(next.Begin.Sub(f.At), next.Worker)
		case f.Kind != WorkerKill && !f.Until.IsZero() && f.Until.Sub(f.At) >= frozenLeast && e.End.After(f.Until):
			// It had to wait for its worker after all.
			m.add(f.Until.Sub(f.At), e.Worker)
		}
	}
}

func (h *history) sawCancel() bool {
	return slices.ContainsFunc(h.generations, func(g *generation) bool { return g.canceled })
}

// hardReturn measures how long after the process that took the place of the
// killed one was admitted the last of the steps of HARD runs began in it.
func (c *checker) hardReturn(f *Fault) (m measure) {
	p := c.struck(f, f.Target)
	if p == nil {
		return m
	}
	i := slices.IndexFunc(c.evidence.Processes, func(n ledger.Process) bool {
		return n.Worker == p.Worker && n.Incarnation > p.Incarnation && !n.Ready.IsZero()
	})
	if i < 0 {
		return m
	}
	back := c.evidence.Processes[i]
	for _, e := range c.runningIn(p, f.At) {
		h := c.runs[e.Run]
		if h == nil || h.sticky() != messages.Sticky_STICKY_HARD || h.sawCancel() {
			continue
		}
		if next := h.next(e); next != nil && next.Incarnation == back.Incarnation {
			m.add(max(next.Begin.Sub(back.Ready), time.Microsecond), p.Worker)
		}
	}
	return m
}

// heldUpUntil measures how long after the fault the last of the results was
// recorded that it held up.
func (c *checker) heldUpUntil(f *Fault, m *measure) {
	over := f.At.Add(outageMost)
	if !f.Until.IsZero() && f.Until.Before(over) {
		// The return of a node has a cost of its own.
		over = f.Until
	}
	for _, h := range c.order {
		for _, a := range h.attempts {
			e := a.execution()
			if e == nil || e.End.IsZero() || a.ending != succeeded && a.ending != failed {
				continue
			}
			meanwhile := e.End.After(f.At.Add(-slack)) && e.End.Before(over)
			if meanwhile && a.endAt.Sub(e.End) > heldUpAfter {
				m.add(a.endAt.Sub(f.At), e.Worker)
			}
		}
	}
}

// stalled measures what is held up longest while the fault lasts: a result until it
// is recorded, or a step that was sent until it begins.
func (c *checker) stalled(f *Fault) (m measure) {
	meanwhile := func(at time.Time) bool { return at.After(f.At.Add(-slack)) && at.Before(f.Until) }
	for _, h := range c.order {
		for _, a := range h.attempts {
			e := a.execution()
			if e == nil {
				continue
			}
			if took := e.Begin.Sub(a.at); meanwhile(a.at) && took > heldUpAfter {
				m.add(took, e.Worker)
			}
			if took := a.endAt.Sub(e.End); meanwhile(e.End) && took > heldUpAfter && (a.ending == succeeded || a.ending == failed) {
				m.add(took, e.Worker)
			}
		}
	}
	return m
}

// firstEntry measures how long after the database was back the first entry of
// any history follows.
func (c *checker) firstEntry(f *Fault) (m measure) {
	if f.Until.IsZero() {
		return m
	}
	for _, h := range c.order {
		for _, entry := range h.Entries {
			if took := entry.At.Sub(f.Until); took > 0 && (m.took == 0 || took < m.took) {
				m.took = took
			}
		}
	}
	return m
}
