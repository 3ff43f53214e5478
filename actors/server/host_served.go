package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// Which workflows no worker serves, and since when, is noted in the journal, so that
// a restart does not forget it. One server notes it, when it changes: a worker that
// goes costs one write, one that comes back another, and nothing is written while
// nothing changes. That a workflow is served is noted before its worker is admitted.

const (
	// servedKind names the identity whose owner notes.
	servedKind = "served"
	// servedSettle: a server that begins has yet to hear of workers. Until then it
	// notes that there is none only of what it has seen served.
	servedSettle = 10 * time.Second
	// servedPause gathers changes; servedEvery is the time after which the server
	// looks without one: it has become the one that notes, or a note failed.
	servedPause = 500 * time.Millisecond
	servedEvery = 30 * time.Second
	// servedWithin bounds a note.
	servedWithin = 5 * time.Second
)

// servedLoop returns what notes until the host stops.
func (h *Host) servedLoop() func() {
	changed := make(chan struct{}, 1)
	// seen has the workflows that were served since the server began: a worker may
	// come back without one, before it was looked at.
	var seen sync.Map
	h.stop = append(h.stop, h.roster.OnChange(func(c run.WorkerChanged) {
		for _, d := range c.Info.GetWorkflows() {
			seen.Store(d.GetName(), nil)
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}))
	return func() {
		for began := time.Now(); backoff.Sleep(h.ctx, servedPause) == nil; {
			left := servedSettle - time.Since(began)
			if err := h.guard.Do(func() error { return h.noteServed(&seen, left <= 0) }); err != nil && h.ctx.Err() == nil {
				h.log.Warn("which workflows no worker serves could not be noted, trying again", "error", err)
			}
			if left <= 0 {
				left = servedEvery
			}
			select {
			case <-h.ctx.Done():
			case <-changed:
			case <-time.After(left):
			}
		}
	}
}

// noteServed notes what is not as it was noted.
func (h *Host) noteServed(seen *sync.Map, settled bool) error {
	if owner, ok := h.cfg.Node.View().OwnerOf(servedKind, servedKind); !ok || owner.Name != h.cfg.Node.Self().Name {
		return nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, servedWithin)
	defer cancel()
	all, err := h.definitions.All(ctx)
	if err != nil {
		return err
	}
	workers := h.workersOf((*messages.WorkflowDefinition).GetName)
	var gone, back []string
	for _, w := range all {
		name := w.Def.GetName()
		n := workers[name]
		_, was := seen.Load(name)
		switch {
		case n == 0 && w.UnservedSince.IsZero() && (was || settled):
			gone = append(gone, name)
		case n > 0 && !w.UnservedSince.IsZero():
			back = append(back, name)
		}
	}
	if len(gone) > 0 {
		h.log.Info("no worker serves these workflows", "workflows", brief(gone))
	}
	if err := h.definitions.NoteUnserved(ctx, gone, h.clock.Now()); err != nil {
		return err
	}
	return h.definitions.NoteUnserved(ctx, back, time.Time{})
}

// brief is a list for the log.
func brief(names []string) []string {
	const most = 20
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), "…")
}

// workersOf counts the workers that take new runs by what key says of the
// workflows that they serve. What was served once has an entry too.
func (h *Host) workersOf(key func(*messages.WorkflowDefinition) string) map[string]int {
	workers := map[string]int{}
	for _, w := range h.roster.Workers() {
		n := 0
		if w.State == run.WorkerUp {
			n = 1
		}
		for _, d := range w.Info.GetWorkflows() {
			workers[key(d)] += n
		}
	}
	return workers
}

// served adds who serves a workflow, by the names of the workflows of workers.
func (h *Host) served(w definitions.Workflow, workers map[string]int) definitions.Served {
	s := definitions.Served{Workflow: w, Workers: workers[w.Def.GetName()]}
	if s.Workers > 0 {
		s.UnservedSince = time.Time{} // it is yet to be noted
	}
	if s.UnservedSince.IsZero() || h.cfg.UnservedAfter <= 0 {
		return s
	}
	if at := run.Passed(facts{h}.Absences(), s.UnservedSince, h.cfg.UnservedAfter); !h.clock.Now().Before(at) {
		s.LeftOutSince, s.LeftOutAfter = at, h.cfg.UnservedAfter
	}
	return s
}
