package placement

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Figures are counts of a placement, for who watches it.
type Figures struct {
	// Waiting has the questions that wait, by workflow and reason, in this order.
	Waiting []Waiting
	// Waited is how long questions have waited, by the reason that they were told,
	// up to when that changed or they waited no more.
	Waited map[messages.WaitReason]time.Duration
}

// Waiting are questions of one workflow that wait for one reason.
type Waiting struct {
	Workflow  string
	Reason    messages.WaitReason
	Questions int
	// ReadySince is when the first of their steps became ready.
	ReadySince time.Time
}

// Figures are the counts at this time. It looks at each class, not at each
// question.
func (c *Core) Figures(now time.Time) Figures {
	f := Figures{Waited: maps.Clone(c.waited)}
	for _, cl := range c.classes {
		for p := range cl.queues {
			if cl.queues[p].Len() > 0 {
				f.add(c, cl, p, now)
			}
		}
	}
	slices.SortFunc(f.Waiting, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Workflow, b.Workflow), cmp.Compare(a.Reason, b.Reason))
	})
	return f
}

// add counts a queue: its head became ready first.
func (f *Figures) add(c *Core, cl *class, priority int, now time.Time) {
	reason, _ := c.reason(cl, now)
	queue := &cl.queues[priority]
	since := time.UnixMicro(queue.First().readyUs)
	for i := range f.Waiting {
		w := &f.Waiting[i]
		if w.Workflow == cl.workflow && w.Reason == reason {
			w.Questions += queue.Len()
			if since.Before(w.ReadySince) {
				w.ReadySince = since
			}
			return
		}
	}
	f.Waiting = append(f.Waiting, Waiting{Workflow: cl.workflow, Reason: reason, Questions: queue.Len(), ReadySince: since})
}

// noteTold notes what a question is told that it waits for.
func (c *Core) noteTold(q *question, kind messages.WaitReason, now time.Time) {
	if q.told == kind {
		return
	}
	c.noteWaited(q, now)
	q.told, q.toldAt = kind, now
}

// noteWaited counts what a question has waited for what it was told last.
func (c *Core) noteWaited(q *question, now time.Time) {
	if q.told != 0 {
		c.waited[q.told] += max(0, now.Sub(q.toldAt))
	}
}
