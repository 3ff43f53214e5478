package placement

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// promisesMax limits the keys that are remembered of grants; the oldest goes
// first.
const promisesMax = 100_000

// heldIndex knows who holds which keys of shared local state, or will soon: by
// the workers' reports, and by what was granted them.
type heldIndex struct {
	by       map[uint64][]*worker
	promises fifo[promise] // by the time of the grant
}

// promise: a run that asks for the key was granted the worker, so that it will
// hold it soon. One that was made anew since is another one.
type promise struct {
	key   uint64
	w     *worker
	until time.Time
}

func (w *worker) reports(key uint64) bool {
	_, ok := slices.BinarySearch(w.held, key)
	return ok
}

// holds says that the worker reports a key, or was promised it of late.
func (w *worker) holds(key uint64, now time.Time) bool {
	if w.reports(key) {
		return true
	}
	until, ok := w.promised[key]
	return ok && now.Before(until)
}

// holdsOf counts the keys that a worker holds.
func (w *worker) holdsOf(keys []uint64, now time.Time) int {
	n := 0
	for _, key := range keys {
		if w.holds(key, now) {
			n++
		}
	}
	return n
}

func (x *heldIndex) add(key uint64, w *worker) { x.by[key] = append(x.by[key], w) }

func (x *heldIndex) remove(key uint64, w *worker) {
	list := x.by[key]
	i, last := slices.Index(list, w), len(list)-1
	list[i], list[last] = list[last], nil
	if last == 0 {
		delete(x.by, key)
		return
	}
	x.by[key] = list[:last]
}

// promise notes that a run with the key was granted the worker.
func (x *heldIndex) promise(key uint64, w *worker, until time.Time) {
	if w.reports(key) {
		return
	}
	if _, ok := w.promised[key]; !ok {
		x.add(key, w)
	}
	if w.promised == nil {
		w.promised = map[uint64]time.Time{}
	}
	w.promised[key] = until
	x.promises.push(promise{key, w, until})
}

// forget drops the promises that were not kept in time.
func (x *heldIndex) forget(now time.Time) {
	for x.promises.len() > 0 {
		p := x.promises.front()
		if now.Before(p.until) && x.promises.len() <= promisesMax {
			return
		}
		x.promises.pop()
		if until, ok := p.w.promised[p.key]; ok && until.Equal(p.until) {
			delete(p.w.promised, p.key)
			x.remove(p.key, p.w)
		}
	}
}

// report replaces what a worker holds. A report names all its keys; one that
// does not know of a promise yet does not break it.
func (x *heldIndex) report(w *worker, keys []uint64) {
	keys = keys[:min(len(keys), messages.HeldKeysMax)]
	if slices.Equal(w.held, keys) {
		return
	}
	next := slices.Clone(keys)
	slices.Sort(next)
	next = slices.Compact(next)
	for _, key := range w.held {
		if _, ok := slices.BinarySearch(next, key); !ok {
			x.remove(key, w)
		}
	}
	for _, key := range next {
		if w.reports(key) {
			continue
		}
		if _, ok := w.promised[key]; ok {
			delete(w.promised, key) // kept
			continue
		}
		x.add(key, w)
	}
	w.held = next
}

// gone drops all that a worker holds.
func (x *heldIndex) gone(w *worker) {
	x.report(w, nil)
	for key := range w.promised {
		x.remove(key, w)
	}
	w.promised = nil
}

// promise remembers whom a run that asks for keys was granted.
func (c *Core) promise(q *question, w *worker, now time.Time) {
	if len(q.keys) == 0 || c.boundMilli < 0 {
		return
	}
	c.held.forget(now)
	for _, key := range q.keys {
		c.held.promise(key, w, now.Add(c.cfg.PromisedFor))
	}
}

// load is what a worker carries for a question: the slots that are taken, or,
// if the run is sticky and would stay, the runs that are bound to it if these
// are more.
func (cl *class) load(w *worker) int64 {
	if cl.sticky {
		return int64(max(w.taken, w.boundRuns()))
	}
	return int64(w.taken)
}

// share is what the workers that fit a question carry together.
type share struct{ load, slots int64 }

// shareOf adds up the workers that fit as well as others do.
func (c *Core) shareOf(cl *class, weight int32) share {
	var s share
	for _, w := range c.seats {
		if w != nil && w.reported && !w.silent && !w.draining && cl.fits[w.seat].ok && cl.fits[w.seat].weight == weight {
			s.load += cl.load(w)
			s.slots += int64(w.slots)
		}
	}
	return s
}

// within says whether one more run leaves a worker's load within the bound.
func (c *Core) within(load, slots int64, all share) bool {
	return 1000*(load+1) <= c.freeMilli*slots || c.boundMilli*(all.load+1)*slots > 1000*load*all.slots
}

// holder returns the worker for a question that asks for keys, given the best
// of those that are open: of the open ones that fit as well, hold most of the
// keys and are within the bound, the least loaded; nil for none.
func (c *Core) holder(q *question, best *worker, now time.Time) *worker {
	weight := q.class.fits[best.seat].weight
	var found *worker
	var all share
	most := 0
	for _, key := range q.keys {
		for _, w := range c.held.by[key] {
			if w.openAt < 0 || !w.holds(key, now) || !q.class.eligible(w) || q.class.fits[w.seat].weight != weight {
				continue
			}
			if all.slots == 0 {
				all = c.shareOf(q.class, weight)
			}
			if !c.within(q.class.load(w), int64(w.slots), all) {
				continue
			}
			n := w.holdsOf(q.keys, now)
			if found == nil || n > most || n == most && better(q, w, found) {
				found, most = w, n
			}
		}
	}
	return found
}

const (
	// heldAmong is how many of the questions whose turn is near may be preferred
	// for a key that the worker with the free slot holds.
	heldAmong = 16
	// heldPasses is how often a question may be passed over so.
	heldPasses = 8
)

// prefer returns the question that an open worker gets instead of the first
// one of a class: one of the next whose keys the worker holds.
func (c *Core) prefer(w *worker, first *question, now time.Time) *question {
	if len(first.keys) == 0 || c.boundMilli < 0 || first.passed >= heldPasses || w.holdsOf(first.keys, now) > 0 {
		return first
	}
	queue := first.class.queues[first.priority].Items()
	var found *question
	for _, q := range queue[1:min(len(queue), heldAmong)] {
		if (found == nil || q.before(found)) && w.holdsOf(q.keys, now) > 0 {
			found = q
		}
	}
	if found == nil {
		return first
	}
	first.passed++
	return found
}
