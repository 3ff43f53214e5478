package activation

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// A million runs may wait for a worker, or for many that come at once. No further
// ones are woken while there are more than WokenMax runs in memory, or more than
// wokenBehind things to do, unless no more than wokenLeast of those that were woken
// are in memory. Whoever wakes does so for the share of it, and by pages, that are
// due to one of as many as wake now.
//
// In pages of the default size: wokenLeast is what wakers may always have in
// memory, and wokenBehind counts appends and mailboxes that wait: what comes on top
// only waits too, and workers send again what is not answered in time. pageShares
// is into how many parts a page is divided at most.
const (
	WokenMax    = 20_000
	WokenLeast  = wokenLeast * PageSize
	wokenLeast  = 2
	wokenBehind = 2
	pageShares  = 20
	// busyPause is the wait while woken runs are on their way.
	busyPause = 50 * time.Millisecond
	// asideFor is how long a run that cannot be read is not woken.
	asideFor = time.Minute
)

// waking wakes the dormant runs that wait for a worker's coming or going.
type waking struct {
	// of is the recovery that it is part of, if any.
	of       *recovery
	shards   []int
	workerID string
	state    run.WorkerState
	after    string
	// woken are the runs that it has woken, of which some are in memory.
	woken []string
}

// news wakes the dormant runs that wait for what has become of a worker.
func (h *Host) news(worker run.WorkerChanged, now time.Time) {
	if worker.State != run.WorkerDraining {
		(&waking{shards: h.ownedShards(), workerID: worker.Worker.WorkerId, state: worker.State}).begin(h, now)
	}
}

func (w *waking) begin(h *Host, now time.Time) {
	h.wakings++
	w.read(h, now)
}

func (w *waking) read(h *Host, _ time.Time) {
	if h.crowded(w) {
		h.later(busyPause, goOn{w})
		return
	}
	query := ReadWokenByUp
	if w.state == run.WorkerGone {
		query = ReadWokenByGone
	}
	h.ask(Read{Query: query, Shards: w.shards, WorkerID: w.workerID, After: w.after, Limit: h.share(h.cfg.PageSize)}, w)
}

func (w *waking) record(h *Host, in Record) {
	w.after = in.Loaded.Record.Row.RunID
	w.woken = append(w.woken, w.after)
	h.takeUp(in)
}

func (w *waking) page(h *Host, in Page, now time.Time) {
	if len(w.woken) > WokenMax {
		h.prune(w)
	}
	switch {
	case in.Err != nil:
		h.readAgain(in, w)
	case in.Count == in.Of.Limit:
		w.read(h, now)
	default:
		h.wakings--
		if w.of != nil {
			w.of.next(h, now)
		}
	}
}

// share is the part of n that is due to one of those who wake now.
func (h *Host) share(n int) int {
	return max(1, h.cfg.PageSize/pageShares, n/max(1, h.wakings))
}

// crowded says that waking more runs would only make all of them wait.
func (h *Host) crowded(w *waking) bool {
	if h.active.Len() <= WokenMax && h.facts.Backlog() <= wokenBehind*h.cfg.PageSize {
		return false
	}
	h.prune(w)
	return len(w.woken) > h.share(wokenLeast*h.cfg.PageSize)
}

// prune leaves those of the woken runs that are in memory.
func (h *Host) prune(w *waking) {
	w.woken = slices.DeleteFunc(w.woken, func(id string) bool { return h.active.Get(id) == nil })
}

// ---- runs whose time has come ------------------------------------------------

// wakeAt is when a run that has left memory is to be woken; zero for no time. Of
// an append that failed it is not known whether it was stored, so that a
// search may be in vain.
func (a *Activation) wakeAt() time.Time {
	if a.m == nil || a.m.State().Ended() || a.m.State().Dormant.GetWakeAtUs() == 0 {
		return time.Time{}
	}
	return time.UnixMicro(a.m.State().Dormant.WakeAtUs)
}

// Searches says that dormant runs whose time has come are being woken.
func (h *Host) Searches(now time.Time) bool {
	return h.searching || !h.searchAt.IsZero() && !now.Before(h.searchAt)
}

// moved: timers sleep for too long, and are not late.
func (h *Host) moved(now time.Time) {
	for _, a := range h.All() {
		h.tell(a, run.TimerDue{Moved: true}, nil)
	}
	if at := h.searchAt; !at.IsZero() && !h.searching {
		h.searchAt = time.Time{}
		h.kick(at, now)
	}
}

// kick has dormant runs searched for at a time. A search before a row is stored
// would not find it, and forget it.
func (h *Host) kick(at, now time.Time) {
	if at.IsZero() || !h.searchAt.IsZero() && !at.Before(h.searchAt) {
		return
	}
	h.searchAt = at
	if !h.searching {
		h.searches++
		h.later(max(0, at.Sub(now)), searchDue{h.searches})
	}
}

// dueSearch is one search for dormant runs that are due.
type dueSearch struct{ due, woken int }

func (h *Host) dueSearch(in searchDue, now time.Time) {
	if in.serial != h.searches || h.searching {
		return
	}
	h.searching, h.searchAt = true, time.Time{}
	(&dueSearch{}).read(h, now)
}

func (l *dueSearch) read(h *Host, now time.Time) {
	h.ask(Read{Query: ReadDue, Shards: h.ownedShards(), At: now, Limit: h.cfg.PageSize + len(h.aside)}, l)
}

func (l *dueSearch) found(h *Host, in Found, now time.Time) {
	l.due++
	if !now.Before(h.aside[in.RunID]) && h.activateOwned(&Activation{RunID: in.RunID}) {
		l.woken++
	}
}

// page finds out when to search again. Runs stay listed until their first append,
// and those that are set aside until they can be read.
func (l *dueSearch) page(h *Host, in Page, now time.Time) {
	next := in.Next
	switch {
	case in.Err != nil:
		h.act(ReadsAgain{Of: in.Of, Err: in.Err})
		next = now.Add(againAfter)
	case l.woken > 0:
		next = now.Add(busyPause)
	case l.due > 0 && (next.IsZero() || next.After(now.Add(asideFor))):
		next = now.Add(asideFor)
	}
	asked := h.searchAt
	h.searching, h.searchAt = false, time.Time{}
	h.kick(next, now)
	h.kick(asked, now)
}

// forgetAside forgets the runs that neither a search nor a sweep found unreadable
// again since their time was over: they can be read now, or are gone.
func (h *Host) forgetAside(now time.Time) {
	most := asideFor + 2*h.sweepTurn()
	maps.DeleteFunc(h.aside, func(_ string, until time.Time) bool { return now.Sub(until) > most })
}

// setAside notes a run that cannot be read.
func (h *Host) setAside(in Failed, now time.Time) {
	if code := messages.CodeOf(in.Err); code == messages.CodeUnknownRun || code.Retryable() {
		return
	}
	if _, known := h.aside[in.RunID]; !known {
		h.act(SetAside{RunID: in.RunID, Err: in.Err})
	}
	h.aside[in.RunID] = now.Add(asideFor)
}
