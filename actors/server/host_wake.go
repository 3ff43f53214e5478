package server

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// workerChanged wakes the dormant runs that wait for the worker. It comes after
// the runs in memory were told: one whose dormancy the journal stores after the
// look had heard of the worker before, and does not leave memory.
func (h *Host) workerChanged(c run.WorkerChanged) {
	switch c.State {
	case run.WorkerUp:
		h.background(func() {
			h.wakeBy("wake runs that wait for worker "+c.Worker.WorkerId, c.Worker.WorkerId, h.cfg.Store.WokenByUp)
		})
	case run.WorkerGone:
		h.background(func() {
			h.wakeBy("wake runs that watch worker "+c.Worker.WorkerId, c.Worker.WorkerId, h.cfg.Store.WokenByGone)
		})
	}
}

type wokenBy func(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error)

// A million runs may wait for a worker, or for many that come at once. No further
// ones are woken while there are more than wokenMax runs in memory, or more than
// wokenBehind things to do, unless no more than wokenLeast of those that were woken
// are in memory. Whoever wakes does so for the share of it, and by pages, that are
// due to one of as many as wake now.
const (
	wokenMax   = 20_000
	wokenLeast = 2 * pageSize
	// wokenBehind counts appends and mailboxes that wait: what comes on top only
	// waits too, and workers send again what is not answered in time.
	wokenBehind = 2 * pageSize
)

// pageShareMin is how many runs are woken at a time however many wake.
const pageShareMin = 25

// shared is the part of n that is due to one of those who wake now.
func (h *Host) shared(n int) int { return max(pageShareMin, n/max(1, int(h.waking.Load()))) }

// crowded says that waking more runs would only make all of them wait. It
// returns those of the woken that are still in memory, if it looked.
func (h *Host) crowded(woken []string) (bool, []string) {
	if h.ActiveRuns() <= wokenMax && h.committer.Waiting()+h.dispatcher.Backlog() <= wokenBehind {
		return false, woken
	}
	woken = h.inMemory(woken)
	return len(woken) > h.shared(wokenLeast), woken
}

func (h *Host) wakeBy(what, workerID string, query wokenBy) {
	h.wakeIn(h.ownedShards(), what, workerID, query)
}

func (h *Host) wakeIn(shards []int, what, workerID string, query wokenBy) {
	h.waking.Add(1)
	defer h.waking.Add(-1)
	var woken []string
	h.pages(what, func(ctx context.Context, after string) (string, bool, error) {
		for {
			var wait bool
			if wait, woken = h.crowded(woken); !wait {
				break
			}
			if backoff.Sleep(ctx, busyPause) != nil {
				return after, false, nil
			}
		}
		page, mark := h.shared(pageSize), h.cfg.Node.LeaseMark()
		records, err := query(ctx, shards, workerID, after, page)
		for i := range records {
			h.takeUp(&records[i], mark)
			after = records[i].Row.RunID
			woken = append(woken, after)
		}
		if len(woken) > wokenMax {
			woken = h.inMemory(woken)
		}
		return after, len(records) == page, err
	})
}

// inMemory leaves those of the runs that are.
func (h *Host) inMemory(runs []string) []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.DeleteFunc(runs, func(id string) bool { return h.active[id] == nil })
}

// wakeWatchers wakes the dormant runs whose workers are not there when their
// shard is taken up: their loss was nobody's to notice.
func (h *Host) wakeWatchers(shards []int) {
	var workers []string
	h.pages("look for workers that dormant runs watch", func(ctx context.Context, _ string) (_ string, _ bool, err error) {
		workers, err = h.cfg.Store.WatchedWorkers(ctx, shards)
		return "", false, err
	})
	for _, id := range workers {
		h.wakeIn(shards, "wake runs that watch worker "+id, id, h.cfg.Store.WokenByGone)
	}
}

// wakeWaiting wakes the dormant runs whose workers came up before their shard
// was taken up.
func (h *Host) wakeWaiting(shards []int) {
	for _, w := range h.roster.Workers() {
		if w.State == run.WorkerUp {
			h.wakeIn(shards, "wake runs that wait for worker "+w.WorkerID, w.WorkerID, h.cfg.Store.WokenByUp)
		}
	}
}

// waker wakes dormant runs at their time.
type waker struct {
	host *Host
	// kicks are the times of rows that the journal has by then: those that are
	// later than the next look are found by it.
	kicks chan time.Time
}

func newWaker(h *Host) *waker { return &waker{host: h, kicks: make(chan time.Time, 1024)} }

// kick asks for a look at a time. A full queue looks at once.
func (w *waker) kick(at time.Time) {
	select {
	case w.kicks <- at:
	default:
		select {
		case <-w.kicks:
		default:
		}
		select {
		case w.kicks <- w.host.clock.Now():
		default:
		}
	}
}

// busyPause is the wait while woken runs are on their way.
const busyPause = 50 * time.Millisecond

func (w *waker) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next time.Time
	for {
		select {
		case <-w.host.ctx.Done():
			return
		case at := <-w.kicks:
			if next.IsZero() || at.Before(next) {
				next = at
				timer.Reset(w.host.clock.Until(next))
			}
		case <-timer.C:
			next = w.wake()
			if !next.IsZero() {
				timer.Reset(w.host.clock.Until(next))
			}
		}
	}
}

// wake activates what is due and returns when to look again; zero for never.
func (w *waker) wake() time.Time {
	now := w.host.clock.Now()
	due, next, err := w.host.cfg.Store.Due(w.host.ctx, w.host.ownedShards(), now, pageSize+w.host.asides())
	if err != nil {
		if w.host.ctx.Err() == nil {
			w.host.log.Warn("look for runs to wake", "error", err)
		}
		return now.Add(againAfter)
	}
	woken := 0
	for _, id := range due {
		if !w.host.isAside(id, now) {
			w.host.activation(id, nil)
			woken++
		}
	}
	switch {
	case woken > 0:
		// Woken runs stay listed until their first append.
		return now.Add(busyPause)
	case len(due) > 0 && (next.IsZero() || next.After(now.Add(asideFor))):
		return now.Add(asideFor)
	}
	return next
}

// asideFor is how long a run that cannot be read is not woken.
const asideFor = time.Minute

// setAside notes a run that cannot be read; false if that was known.
func (h *Host) setAside(runID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known := h.aside[runID]
	h.aside[runID] = h.clock.Now().Add(asideFor)
	return !known
}

// asides is the number of runs that cannot be read.
func (h *Host) asides() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.aside)
}

func (h *Host) isAside(runID string, now time.Time) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return now.Before(h.aside[runID])
}

// rowStored notes the wake-up time of a run that becomes dormant. A look at the
// journal before its row is there would not find it, and forget it.
func (h *Host) rowStored(row *journal.Row) {
	if row.Dormant && !row.WakeAt.IsZero() && row.Status == messages.RunStatus_RUN_STATUS_RUNNING {
		h.waker.kick(row.WakeAt)
	}
}
