package placement

import (
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// capsEvery is the least time between two looks at who has reached its
// StickyRunsMax, which changes with each grant.
const capsEvery = 100 * time.Millisecond

// why is the reason of a class, and of which state it was made. A question is
// told again when the kind changes, not when a number in the text does.
type why struct {
	kind        messages.WaitReason
	text        string
	fleet, caps uint64
	at          time.Time
}

// tell answers a waiting question with what it waits for.
func (c *Core) tell(q *question, now time.Time) {
	kind, text := c.reason(q.class, now)
	c.noteTold(q, kind, now)
	if kind != q.class.roundKind {
		q.class.mixed = true
	}
	c.emit(q.waitingFor(kind, text))
}

// tellReasons tells waiting questions whose kind of reason has changed.
func (c *Core) tellReasons(now time.Time) {
	if c.waiting == 0 || c.toldFleet == c.fleet && c.toldCaps == c.caps || now.Sub(c.toldAt) < c.cfg.ReasonEvery {
		return
	}
	c.toldFleet, c.toldCaps, c.toldAt = c.fleet, c.caps, now
	var told []*class
	for p := range c.bands {
		for _, l := range c.bands[p].lanes {
			for _, cl := range l.classes {
				kind, text := c.reason(cl, now)
				told = append(told, cl)
				if kind == cl.roundKind && !cl.mixed {
					continue
				}
				for _, q := range cl.queues[p].Items() {
					if q.told != kind {
						c.noteTold(q, kind, now)
						c.emit(q.waitingFor(kind, text))
					}
				}
			}
		}
	}
	for _, cl := range told {
		cl.roundKind, cl.mixed = cl.why.kind, false
	}
}

// reason says why the questions of a class wait.
func (c *Core) reason(cl *class, now time.Time) (messages.WaitReason, string) {
	fresh := cl.why.kind != 0 && cl.why.fleet == c.fleet
	if fresh && (cl.why.caps == c.caps || now.Sub(cl.why.at) < capsEvery) {
		return cl.why.kind, cl.why.text
	}
	kind, text := c.explain(cl)
	cl.why = why{kind: kind, text: text, fleet: c.fleet, caps: c.caps, at: now}
	return kind, text
}

// census counts the workers of a pool by what keeps them from a class.
type census struct {
	all, haveWorkflow, haveSteps       int
	draining, silent, settling, unread group
	full, busy, fitting                group
	excluded                           bool
	excludedFits                       bool
	slotsBusy, slots, stuck            int
	runsBound, capOf                   int
}

// group is a number of workers, and the first of them by name.
type group struct {
	n    int
	name string
}

func (g *group) add(name string) {
	if g.n == 0 || name < g.name {
		g.name = name
	}
	g.n++
}

func (g group) String() string {
	if g.n == 1 {
		return "worker " + g.name
	}
	return fmt.Sprintf("%d workers", g.n)
}

func (c *Core) census(cl *class) census {
	var n census
	for _, w := range c.seats {
		if w == nil {
			continue
		}
		n.all++
		hasWorkflow, hasSteps := w.has(cl.workflow, cl.steps)
		if hasWorkflow {
			n.haveWorkflow++
		}
		if !hasSteps {
			continue
		}
		n.haveSteps++
		if w.id() == cl.exclude {
			_, fits := Weigh(cl.rules, w.info.GetLabels())
			n.excluded, n.excludedFits = true, fits
			continue
		}
		if cl.fits[w.seat].ok {
			n.place(cl, w)
		}
	}
	return n
}

// place counts a worker that fits under what it waits for.
func (n *census) place(cl *class, w *worker) {
	n.fitting.add(w.id())
	switch {
	case w.draining:
		n.draining.add(w.id())
	case !w.reported || w.silent:
		n.silent.add(w.id())
	case w.settling:
		n.settling.add(w.id())
	case cl.sticky && w.sticky != nil && !w.sticky.known:
		n.unread.add(w.id())
	case cl.sticky && w.sticky != nil && w.sticky.full():
		n.full.add(w.id())
		n.runsBound += w.sticky.count()
		n.capOf += w.sticky.max
	default:
		n.busy.add(w.id())
		n.slotsBusy += min(w.taken, w.slots)
		n.slots += w.slots
		n.stuck += w.stuck
	}
}

// explain finds what a class waits for, and says it.
func (c *Core) explain(cl *class) (messages.WaitReason, string) {
	n := c.census(cl)
	pool := fmt.Sprintf("pool %q", c.cfg.Pool)
	switch {
	case n.all == 0:
		return messages.WaitReason_WAIT_REASON_NO_WORKER, pool + " has no worker"
	case n.haveWorkflow == 0:
		return messages.WaitReason_WAIT_REASON_NO_WORKFLOW, fmt.Sprintf("no worker of %s has workflow %q (%s)", pool, cl.workflow, workers(n.all))
	case n.haveSteps == 0:
		return messages.WaitReason_WAIT_REASON_NO_STEPS, fmt.Sprintf("no worker of %s has workflow %q with %s (%d of %s have it with other steps)",
			pool, cl.workflow, cl.stepsText(), n.haveWorkflow, workers(n.all))
	case n.fitting.n == 0 && n.excludedFits:
		return messages.WaitReason_WAIT_REASON_EXCLUDED, fmt.Sprintf("no worker of %s fits but %s, which the run is to leave", pool, cl.exclude)
	case n.fitting.n == 0:
		verb := "have"
		if n.haveSteps == 1 {
			verb = "has"
		}
		return messages.WaitReason_WAIT_REASON_NO_LABELS, fmt.Sprintf("%d of %s of %s %s workflow %q with %s, none has %s",
			n.haveSteps, workers(n.all), pool, verb, cl.workflow, cl.stepsText(), c.missing(cl))
	}
	return n.waitFor()
}

// waitFor says what the workers that fit are waited for.
func (n *census) waitFor() (messages.WaitReason, string) {
	parts := []struct {
		kind messages.WaitReason
		who  group
		one  string // of a single worker
		some string // of several among those that fit
		all  string // of all that fit
	}{
		{messages.WaitReason_WAIT_REASON_BUSY, n.busy, "has all slots busy" + n.busySlots(),
			"have all slots busy" + n.busySlots(), "all slots are busy" + n.busySlots()},
		{messages.WaitReason_WAIT_REASON_STICKY_FULL, n.full, "has its " + counted(n.capOf, "sticky run"),
			"have their sticky runs" + of(n.runsBound, n.capOf), "all have their sticky runs" + of(n.runsBound, n.capOf)},
		{messages.WaitReason_WAIT_REASON_UNREAD, n.unread, "has its bound runs counted first",
			"have their bound runs counted first", "their bound runs are counted first"},
		{messages.WaitReason_WAIT_REASON_SETTLING, n.settling, "has what it was granted before counted first",
			"have what they were granted before counted first", "what they were granted before is counted first"},
		{messages.WaitReason_WAIT_REASON_SILENT, n.silent, "does not report its load", "do not report their load", "none reports its load"},
		{messages.WaitReason_WAIT_REASON_DRAINING, n.draining, "is draining", "are draining", "all are draining"},
	}
	var kind messages.WaitReason
	var texts []string
	for _, p := range parts {
		if p.who.n == 0 {
			continue
		}
		if kind == 0 {
			kind = p.kind
		}
		switch {
		case n.fitting.n == 1:
			return p.kind, fmt.Sprintf("%s fits but %s", p.who, p.one)
		case p.who.n == n.fitting.n:
			return p.kind, fmt.Sprintf("%s fit, %s", p.who, p.all)
		case p.who.n == 1:
			texts = append(texts, fmt.Sprintf("%s %s", p.who, p.one))
		default:
			texts = append(texts, fmt.Sprintf("%d %s", p.who.n, p.some))
		}
	}
	return kind, fmt.Sprintf("%s fit: %s", n.fitting, strings.Join(texts, "; "))
}

// missing names the required labels that no worker with the steps has, or all
// required ones if each is somewhere, but never all together.
func (c *Core) missing(cl *class) string {
	var nowhere []string
	i := 0
	for _, r := range cl.rules {
		if !r.GetRequired() {
			continue
		}
		text, found := cl.required[i], false
		i++
		for _, w := range c.seats {
			if w == nil || w.id() == cl.exclude || found {
				continue
			}
			_, hasSteps := w.has(cl.workflow, cl.steps)
			found = hasSteps && Holds(r, w.info.GetLabels())
		}
		if !found {
			nowhere = append(nowhere, text)
		}
	}
	switch {
	case len(nowhere) == 1:
		return "label " + nowhere[0]
	case len(nowhere) > 1:
		return "labels " + strings.Join(nowhere, ", ")
	case len(cl.required) == 1:
		return "label " + cl.required[0]
	}
	return "all of the labels " + strings.Join(cl.required, ", ")
}

func (cl *class) stepsText() string {
	const shown = 8
	names := cl.steps
	switch {
	case len(names) == 1:
		return "step " + names[0]
	case len(names) > shown:
		return fmt.Sprintf("its %d steps (%s, …)", len(names), strings.Join(names[:shown], ", "))
	}
	return "steps " + strings.Join(names, ", ")
}

func workers(n int) string { return counted(n, "worker") }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// busySlots says how many slots are busy, and how many of those may stay so.
func (n *census) busySlots() string {
	if n.stuck == 0 {
		return of(n.slotsBusy, n.slots)
	}
	return fmt.Sprintf(" (%d of %d, %d held by functions that do not return)", n.slotsBusy, n.slots, n.stuck)
}

func of(n, most int) string { return fmt.Sprintf(" (%d of %d)", n, most) }
