package activation

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
)

// job is something that takes several readings of the journal, one after the
// other.
type job interface {
	// read asks for the next reading.
	read(h *Host, now time.Time)
	// page takes note of its end.
	page(h *Host, in Page, now time.Time)
}

// taker is a job that takes up the runs that it reads.
type taker interface {
	job
	record(h *Host, in Record)
}

// ask asks for a reading of a job, by a mark of before it.
func (h *Host) ask(r Read, j job) {
	r.job, r.mark = j, h.facts.LeaseMark()
	h.act(&r)
}

// failed tries a reading again after a pause, while the journal is out of reach.
func (h *Host) readAgain(in Page, j job) {
	h.act(ReadsAgain{Of: in.Of, Err: in.Err})
	h.later(againAfter, goOn{j})
}

// takeUp activates a run that was just read, if it is still this server's. An
// activation that is there, and behind what was read, begins again: another
// server went on with the run.
func (h *Host) takeUp(in Record) {
	id := in.Loaded.Record.Row.RunID
	if a := h.active.Get(id); a != nil {
		h.tell(a, StoredUpTo{in.Loaded.Record.Last()}, nil)
		return
	}
	h.activateOwned(&Activation{RunID: id, read: &in.Loaded, mark: in.Of.mark})
}

// recoverParts is how many pages of unfinished runs are read at one time when
// some of the shards are taken up.
const recoverParts = 4

// recovery brings back the runs of shards: first those that are unfinished and
// not dormant, then those whose turn it is to be placed, and those whose workers
// went, or came, while nobody owned them.
type recovery struct {
	shards []int
	began  time.Time
	// parts are still being read; runs counts what they found.
	parts, runs int
	// watched: those whose workers went are woken.
	watched bool
	wakes   []*waking
}

// recover brings back the unfinished runs of shards. Those that wait for
// something stay where they are until it comes.
func (h *Host) recover(shards []int, now time.Time) {
	h.taking++
	r := &recovery{shards: h.forQuery(shards), began: now}
	parts := [][]int{nil}
	if r.shards != nil {
		parts = slices.Collect(slices.Chunk(shards, (len(shards)+recoverParts-1)/recoverParts))
	}
	r.parts = len(parts)
	for _, part := range parts {
		(&taking{of: r, shards: part}).read(h, now)
	}
}

// taking reads a part of a recovery.
type taking struct {
	of     *recovery
	shards []int
	after  string
}

func (t *taking) read(h *Host, _ time.Time) {
	h.ask(Read{Query: ReadActive, Shards: t.shards, After: t.after, Limit: h.cfg.PageSize}, t)
}

func (t *taking) record(h *Host, in Record) {
	t.after = in.Loaded.Record.Row.RunID
	t.of.runs++
	h.takeUp(in)
}

func (t *taking) page(h *Host, in Page, now time.Time) {
	switch {
	case in.Err != nil:
		h.readAgain(in, t)
	case in.Count == in.Of.Limit:
		t.read(h, now)
	default:
		if t.of.parts--; t.of.parts == 0 {
			h.taking--
			// What their former owner stored meanwhile was told to nobody here.
			h.act(Stir{})
			h.serveClaims(now)
			t.of.read(h, now)
			(&lineSearch{shards: t.of.shards}).read(h, now)
		}
	}
}

// read asks whose going the dormant runs of the shards watch: the loss of a
// worker that is not there was nobody's to notice.
func (r *recovery) read(h *Host, _ time.Time) {
	h.ask(Read{Query: ReadWatched, Shards: r.shards}, r)
}

func (r *recovery) page(h *Host, in Page, now time.Time) {
	if in.Err != nil {
		h.readAgain(in, r)
		return
	}
	for _, id := range in.Workers {
		r.wakes = append(r.wakes, &waking{of: r, shards: r.shards, workerID: id, state: run.WorkerGone})
	}
	r.next(h, now)
}

// next wakes by one worker's news after the other.
func (r *recovery) next(h *Host, now time.Time) {
	if len(r.wakes) == 0 && !r.watched {
		r.watched = true
		for _, id := range h.facts.UpWorkers() {
			r.wakes = append(r.wakes, &waking{of: r, shards: r.shards, workerID: id, state: run.WorkerUp})
		}
	}
	if len(r.wakes) == 0 {
		h.kick(now, now)
		h.act(Recovered{Runs: r.runs, Took: now.Sub(r.began)})
		return
	}
	w := r.wakes[0]
	r.wakes = r.wakes[1:]
	w.begin(h, now)
}
