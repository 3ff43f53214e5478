package load

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// readersMost reads histories at once.
	readersMost = 16
	// unfinishedFor is how long the history of a run that goes on is followed.
	unfinishedFor = 2 * time.Second
)

// Evidence takes what the checker goes by, once the load has settled: calls,
// ledgers, and the history of every run through the API. The error is of a
// ledger or a list that cannot be read; a run that cannot be read says so
// itself.
func (l *Load) Evidence(ctx context.Context) (verdict.Evidence, error) {
	l.StopStarting()
	l.giveUp()
	l.operations.Wait()
	e := verdict.Evidence{Seed: l.config.Seed, At: time.Now(), Calls: l.calls}
	listed, err := l.list(ctx)
	if err != nil {
		return e, err
	}
	known := map[string]bool{}
	var wave []string
	find := func(id string) {
		if id != "" && !known[id] {
			known[id] = true
			wave = append(wave, id)
		}
	}
	for id := range listed {
		find(id)
	}
	for i := range l.calls {
		for _, id := range l.calls[i].Runs {
			find(id)
		}
	}
	for len(wave) > 0 {
		now := wave
		wave = nil
		for _, r := range l.read(ctx, now) {
			r.Listed = listed[r.ID]
			e.Runs = append(e.Runs, r)
			for _, child := range children(&r) {
				find(child)
			}
		}
	}
	book, err := ledger.ReadBook(l.ledgers())
	e.Processes, e.Executions, e.Values = book.Processes, book.Executions, book.Values
	return e, errors.Join(err, ctx.Err())
}

// children that the history of a run names.
func children(r *verdict.Run) []string {
	var all []string
	for _, entry := range r.Entries {
		for _, ev := range entry.Events {
			if c := ev.GetChildSpawned(); c != nil {
				all = append(all, c.GetChildRun())
			}
		}
	}
	return all
}

// list returns the ids of all runs.
func (l *Load) list(ctx context.Context) (map[string]bool, error) {
	all := map[string]bool{}
	req := &api.ListRunsRequest{PageSize: 1000}
	for {
		page, err := l.patient[0].ListRuns(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, r := range page.GetRuns() {
			all[r.GetRunId()] = true
		}
		if page.GetNextPageToken() == "" {
			return all, nil
		}
		req.PageToken = page.GetNextPageToken()
	}
}

// read reads runs, several at once.
func (l *Load) read(ctx context.Context, ids []string) []verdict.Run {
	runs := make([]verdict.Run, len(ids))
	next := make(chan int)
	var readers sync.WaitGroup
	for reader := range readersMost {
		client := l.clients[reader%len(l.clients)]
		readers.Go(func() {
			for i := range next {
				runs[i] = readRun(ctx, client.Run(ids[i]))
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	readers.Wait()
	return runs
}

func readRun(ctx context.Context, run *sdk.Run) verdict.Run {
	r := verdict.Run{ID: run.ID(), Parents: map[string][]string{}}
	got, err := run.Get(ctx)
	if err != nil {
		r.Error, r.Unknown = err.Error(), messages.CodeOf(err) == messages.CodeUnknownRun
		return r
	}
	r.Status, r.Worker, r.Epoch = got.GetRun().GetStatus(), got.GetRun().GetWorkerId(), got.GetRun().GetEpoch()
	for _, s := range got.GetSteps() {
		if s.GetEndStep() {
			r.EndStep = s.GetName()
			continue
		}
		r.Parents[s.GetName()] = s.GetParents()
	}
	watching := ctx
	if r.Status == sdk.Running {
		var cancel context.CancelFunc
		watching, cancel = context.WithTimeout(ctx, unfinishedFor)
		defer cancel()
	}
	for entry, err := range run.Watch(watching, 0) {
		if err != nil {
			if watching.Err() == nil || ctx.Err() != nil {
				r.Error = err.Error()
			}
			break
		}
		r.Entries = append(r.Entries, verdict.Entry{Number: entry.GetEntry(), At: verdict.WithoutSteps(entry.GetAt().AsTime(), time.Now()), Events: entry.GetEvents()})
	}
	streamOf(ctx, run, &r)
	r.Want = wantOf(&r)
	return r
}

// wantOf works out how a run has to end from the input that its history holds;
// nil for a run that is not of the load.
func wantOf(r *verdict.Run) *verdict.Want {
	if len(r.Entries) == 0 || len(r.Entries[0].Events) == 0 {
		return nil
	}
	started := r.Entries[0].Events[0].GetRunStarted()
	s := shapes[started.GetWorkflow()]
	var plan Plan
	if s == nil || json.Unmarshal(started.GetInput(), &plan) != nil {
		return nil
	}
	return s.want(plan)
}
