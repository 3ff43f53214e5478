package server

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Attempts returns the attempts of a run as they are stored. Errors: UNKNOWN_RUN,
// RUN_SET_ASIDE.
func (e *Engine) Attempts(ctx context.Context, runID string) (*api.ListAttemptsResponse, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	record, m, err := e.stored(ctx, runID)
	if err != nil {
		return nil, err
	}
	return projection.Attempts(&record, m.State().Def), nil
}

// historiesRead bounds how many histories one page of a worker's attempts reads.
const historiesRead = 200

// Kinds of the pages of a worker's attempts, which their tokens begin with: the runs
// that are bound to it, and then the others.
const (
	ofBoundRuns = "b"
	ofOtherRuns = "o"
)

// WorkerAttempts returns attempts that a worker had between two times, and the token of
// the next page. The journal has no index of them, for it would have to be written with
// every run: they are looked for in the histories of runs, and a page ends after
// historiesRead of these.
func (e *Engine) WorkerAttempts(ctx context.Context, workerID string, from, to time.Time, limit int, token string) (out []*api.Attempt, next string, err error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	s := attemptSearch{engine: e, workerID: workerID, from: from, to: to, limit: limit, left: historiesRead}
	kind, place := ofBoundRuns, ""
	if token != "" {
		kind, place = token[:1], token[1:]
	}
	if kind == ofBoundRuns {
		if place, err = s.page(ctx, journal.Filter{BoundWorker: workerID, CreatedBefore: to}, place, func(*journal.Row) bool { return true }); err != nil {
			return nil, "", err
		}
		switch {
		case place != "":
			return s.found, ofBoundRuns + place, nil
		case s.full():
			return s.found, ofOtherRuns, nil
		}
	} else if kind != ofOtherRuns {
		return nil, "", messages.Errorf(messages.CodeInvalidArgument, "page_token %q is not one of attempts of a worker", token)
	}
	place, err = s.page(ctx, journal.Filter{CreatedBefore: to}, place, s.mayHave)
	if err != nil || place == "" {
		return s.found, "", err
	}
	return s.found, ofOtherRuns + place, nil
}

// attemptSearch gathers attempts of a worker.
type attemptSearch struct {
	engine   *Engine
	workerID string
	from, to time.Time
	limit    int
	// left is how many histories may still be read.
	left  int
	found []*api.Attempt
}

func (s *attemptSearch) full() bool { return s.left == 0 || len(s.found) >= s.limit }

// mayHave says whether a run that is not bound to the worker may have had attempts there
// in the time.
func (s *attemptSearch) mayHave(row *journal.Row) bool {
	last := row.BoundWorker
	if journal.Finished(row.Status) {
		last = row.LastWorker
	}
	switch {
	case row.BoundWorker == s.workerID:
		return false // it is among those that are bound
	case !row.FinishedAt.IsZero() && row.FinishedAt.Before(s.from):
		return false
	case row.Sticky == messages.Sticky_STICKY_NONE:
		return true
	}
	return last == s.workerID || row.Epoch > 1
}

// page looks at a page of runs, from a place on, and returns the next place; empty at
// the end.
func (s *attemptSearch) page(ctx context.Context, f journal.Filter, place string, wanted func(*journal.Row) bool) (next string, err error) {
	rows, next, err := s.engine.host.cfg.Store.List(ctx, f, messages.PageSizeMax, place)
	if err != nil {
		return "", err
	}
	for i := range rows {
		if !wanted(&rows[i]) {
			continue
		}
		if err := s.read(ctx, &rows[i]); err != nil {
			return "", err
		}
		if s.full() && (i < len(rows)-1 || next != "") {
			return journal.NewPageToken(&rows[i]), nil
		}
	}
	return next, nil
}

// read takes the attempts of a run. One that is deleted meanwhile has none.
func (s *attemptSearch) read(ctx context.Context, row *journal.Row) error {
	s.left--
	record, err := s.engine.host.cfg.Store.Load(ctx, row.RunID)
	if messages.CodeOf(err) == messages.CodeUnknownRun {
		return nil
	} else if err != nil {
		return err
	}
	def, err := s.engine.host.definitions.ByHash(ctx, row.DefinitionHash)
	if err != nil {
		return err
	}
	for _, a := range projection.Attempts(&record, def.Def).GetAttempts() {
		ended := a.GetEndedAt()
		if a.GetWorkerId() != s.workerID || !a.GetSentAt().AsTime().Before(s.to) || ended != nil && ended.AsTime().Before(s.from) {
			continue
		}
		a.RunId, a.Workflow = row.RunID, row.Workflow
		s.found = append(s.found, a)
	}
	return nil
}
