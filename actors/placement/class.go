package placement

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

// priorities is the number of bands: priority 1 is bands[0].
const priorities = 3

// class is a set of questions that the same workers fit.
type class struct {
	key      string
	workflow string
	steps    []string
	rules    []*messages.LabelRule
	required []string // texts of the required rules
	sticky   bool
	exclude  string // worker id that does not count

	fits   []fit // by seat
	queues [priorities]heap.Heap[*question]

	why why
	// Kind of reason that its questions were told in the last round, and
	// whether some were told another one since.
	roundKind messages.WaitReason
	mixed     bool
}

// fit says how well a worker fits a class.
type fit struct {
	ok     bool
	weight int32
}

func bandOf(priority int32) int {
	return int(messages.EffectivePriority(min(max(priority, 0), priorities))) - 1
}

// classOf finds or makes the class of a question.
func (c *Core) classOf(p *messages.Place) *class {
	key := classKey(p)
	if cl, ok := c.classes[key]; ok {
		return cl
	}
	cl := &class{
		key: key, workflow: p.GetWorkflow(), steps: slices.Sorted(slices.Values(p.GetSteps())),
		rules: p.GetLabels(), sticky: p.GetSticky() != messages.Sticky_STICKY_NONE, exclude: p.GetExcludeWorker(),
	}
	for p := range cl.queues {
		cl.queues[p] = newQueue()
	}
	for _, r := range cl.rules {
		if r.GetRequired() {
			cl.required = append(cl.required, RuleText(r))
		}
	}
	for _, w := range c.seats {
		if w != nil {
			cl.seat(w)
		}
	}
	c.classes[key] = cl
	return cl
}

func classKey(p *messages.Place) string {
	var b strings.Builder
	put := func(s string) {
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
	put(p.GetWorkflow())
	put(p.GetExcludeWorker())
	if p.GetSticky() != messages.Sticky_STICKY_NONE {
		b.WriteByte('s')
	}
	for _, s := range p.GetSteps() {
		put(s)
	}
	for _, r := range p.GetLabels() {
		b.WriteByte('l')
		put(r.GetKey())
		b.WriteByte('0' + byte(r.GetOp()))
		put(r.GetValue())
		if r.GetRequired() {
			b.WriteByte('!')
			continue
		}
		put(strconv.Itoa(int(r.GetWeight())))
	}
	return b.String()
}

func (cl *class) seat(w *worker) {
	for len(cl.fits) <= w.seat {
		cl.fits = append(cl.fits, fit{})
	}
	cl.fits[w.seat] = cl.fitOf(w)
}

func (cl *class) unseat(w *worker) { cl.fits[w.seat] = fit{} }

func (cl *class) fitOf(w *worker) fit {
	if w.id() == cl.exclude {
		return fit{}
	}
	if _, ok := w.has(cl.workflow, cl.steps); !ok {
		return fit{}
	}
	weight, ok := Weigh(cl.rules, w.info.GetLabels())
	return fit{ok: ok, weight: weight}
}

// eligible says whether an open worker may get the class's next question.
func (cl *class) eligible(w *worker) bool {
	return cl.fits[w.seat].ok && !(cl.sticky && w.sticky != nil && w.sticky.full())
}

func (cl *class) waiting() int {
	n := 0
	for i := range cl.queues {
		n += cl.queues[i].Len()
	}
	return n
}

// choose returns the best open worker for a question, nil if none fits.
func (c *Core) choose(q *question, now time.Time) *worker {
	var best *worker
	for i := len(c.open) - 1; i >= 0; i-- {
		w := c.open[i]
		if !q.class.eligible(w) {
			continue
		}
		if c.noteSilence(w, now); w.openAt < 0 {
			continue
		}
		if best == nil || better(q, w, best) {
			best = w
		}
	}
	if best != nil && len(q.keys) > 0 && c.boundMilli >= 0 {
		if w := c.holder(q, best, now); w != nil {
			return w
		}
	}
	return best
}

// better says whether a question goes to a rather than to b: weight of
// preferred labels, load, bound runs, and then what looks like chance but is
// the same each time.
func better(q *question, a, b *worker) bool {
	if fa, fb := q.class.fits[a.seat].weight, q.class.fits[b.seat].weight; fa != fb {
		return fa > fb
	}
	if la, lb := int64(a.taken)*int64(b.slots), int64(b.taken)*int64(a.slots); la != lb {
		return la < lb
	}
	if ra, rb := a.boundRuns(), b.boundRuns(); ra != rb {
		return ra < rb
	}
	if ha, hb := scatter(a.hash^q.hash), scatter(b.hash^q.hash); ha != hb {
		return ha < hb
	}
	return a.id() < b.id()
}

// hashText is FNV-1a.
func hashText(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// scatter is a finalizer: each bit of its input changes half of its output.
func scatter(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// lane holds the classes of one workflow that have questions of one priority.
type lane struct {
	workflow string
	classes  []*class
}

// band is a priority: its lanes, the one whose turn is next first.
type band struct {
	lanes  []*lane
	byName map[string]*lane
}

func (c *Core) enqueue(q *question) {
	c.waiting++
	queue := &q.class.queues[q.priority]
	queue.Push(q)
	if queue.Len() > 1 {
		return
	}
	b := &c.bands[q.priority]
	if b.byName == nil {
		b.byName = map[string]*lane{}
	}
	l := b.byName[q.class.workflow]
	if l == nil {
		l = &lane{workflow: q.class.workflow}
		b.byName[l.workflow] = l
		b.lanes = append(b.lanes, l)
	}
	l.classes = append(l.classes, q.class)
}

func (c *Core) dequeue(q *question, now time.Time) {
	c.waiting--
	c.noteWaited(q, now)
	queue := &q.class.queues[q.priority]
	queue.Remove(q)
	if queue.Len() > 0 {
		return
	}
	b := &c.bands[q.priority]
	l := b.byName[q.class.workflow]
	l.classes = slices.DeleteFunc(l.classes, func(cl *class) bool { return cl == q.class })
	if len(l.classes) > 0 {
		return
	}
	delete(b.byName, l.workflow)
	b.lanes = slices.DeleteFunc(b.lanes, func(other *lane) bool { return other == l })
}

// fill gives an open worker the questions whose turn it is, as long as it is
// open and one fits.
func (c *Core) fill(w *worker, now time.Time) {
	if c.waiting == 0 {
		return
	}
	c.noteSilence(w, now)
	for w.openAt >= 0 {
		q := c.next(w)
		if q == nil {
			return
		}
		q = c.prefer(w, q, now)
		if q.move && !c.moves.take(now) {
			c.drop(q, now)
			c.stay(q)
			continue
		}
		c.dequeue(q, now)
		c.grant(q, w, now)
	}
}

// next finds the question that an open worker gets: by priority, then by the
// turn of its workflow, then by the time at which it became ready.
func (c *Core) next(w *worker) *question {
	for p := range c.bands {
		lanes := c.bands[p].lanes
		for i, l := range lanes {
			q := l.head(w, p)
			if q == nil {
				continue
			}
			copy(lanes[i:], lanes[i+1:])
			lanes[len(lanes)-1] = l
			return q
		}
	}
	return nil
}

func (l *lane) head(w *worker, priority int) *question {
	var first *question
	for _, cl := range l.classes {
		if !cl.eligible(w) {
			continue
		}
		if q := cl.queues[priority].First(); first == nil || q.before(first) {
			first = q
		}
	}
	return first
}

// dropIdleClasses keeps the number of classes bounded.
func (c *Core) dropIdleClasses() {
	if len(c.classes) <= c.cfg.ClassesMax {
		return
	}
	for key, cl := range c.classes {
		if cl.waiting() == 0 {
			delete(c.classes, key)
		}
	}
}

// newQueue makes a queue of waiting questions, the one that became ready first
// on top.
func newQueue() heap.Heap[*question] {
	return heap.New((*question).before, func(q *question) *heap.Place { return &q.place })
}

func (q *question) before(other *question) bool {
	if d := cmp.Compare(q.readyUs, other.readyUs); d != 0 {
		return d < 0
	}
	return q.seq < other.seq
}
