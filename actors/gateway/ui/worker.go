package ui

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages/api"
)

const (
	// laneAttempts are drawn in the lane of a worker, the newest runs first, from no more
	// than lanePages pages of them.
	laneAttempts = 1000
	lanePages    = 3
	// listedAttempts of them are listed.
	listedAttempts = 50
)

// looks are the times that the lane of a worker can show, until now.
var looks = []struct {
	name, words string
	time        time.Duration
}{{"5m", "5 minutes", 5 * time.Minute}, {"15m", "15 minutes", 15 * time.Minute}, {"1h", "hour", time.Hour}, {"6h", "6 hours", 6 * time.Hour}, {"24h", "24 hours", 24 * time.Hour}}

// workerPage is a worker, what it did, and the runs that are bound to it.
type workerPage struct {
	*api.Worker
	Told string
	Runs []*api.Run
	More bool
	// Drains says that it does, Gone that it is; Ends that its process is to end.
	Drains, Gone bool
	Timeline     *timeline
	// Looks are links to other times of the lane, and Look the present one.
	Looks []control
	Look  string
	// Attempts are the newest of those that are drawn, of which there are more if Cut.
	Attempts []*api.Attempt
	Cut      bool
	// Events are the newest first.
	Events []*api.WorkerEvent
}

func (p *pages) worker(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	resp, err := p.Client.GetWorker(r.Context(), connect.NewRequest(&api.GetWorkerRequest{WorkerId: id}))
	if err != nil {
		return nil, err
	}
	runs, err := p.Client.ListRuns(r.Context(), connect.NewRequest(&api.ListRunsRequest{WorkerId: id, PageSize: PageRuns}))
	if err != nil {
		return nil, err
	}
	w := resp.Msg.GetWorker()
	page := workerPage{
		Worker: w, Told: told(r), Runs: runs.Msg.GetRuns(), More: runs.Msg.GetNextPageToken() != "",
		Drains: w.GetState() == api.WorkerDraining, Gone: w.GetState() == api.WorkerGone, Events: slices.Clone(resp.Msg.GetEvents()),
	}
	if err := p.lane(r, &page); err != nil {
		return nil, err
	}
	slices.Reverse(page.Events)
	return p.show(r, "worker", "Worker "+id, "workers", page)
}

// lane draws what the worker did.
func (p *pages) lane(r *http.Request, page *workerPage) error {
	q, now := r.URL.Query(), p.now()
	look, fold := looks[1], q.Get("fold") != ""
	for _, l := range looks {
		if l.name == q.Get("look") {
			look = l
		}
	}
	page.Look = look.words
	s := story{from: now.Add(-look.time), to: now, runs: true}
	var err error
	if s.attempts, page.Cut, err = p.attemptsOf(r, page.GetWorkerId(), s.from); err != nil {
		return err
	}
	process := lane{page.GetWorkerId(), page.GetIncarnation()}
	if page.GetIncarnation() != "" {
		s.processes = append(s.processes, moment{lane: process, at: page.GetStartedAt().AsTime()})
	}
	for _, e := range page.Events {
		l := lane{page.GetWorkerId(), e.GetIncarnation()}
		if at := e.GetAt().AsTime(); at.After(s.from) {
			s.processes = append(s.processes, moment{lane: l, at: at})
			s.marks = append(s.marks, moment{l, at, eventClass(e.GetKind()), e.GetText()})
		}
	}
	page.Timeline = draw(s, window{Fold: fold})
	page.Looks = lookLinks(look.name, fold)
	slices.SortStableFunc(s.attempts, func(a, b *api.Attempt) int { return b.GetSentAt().AsTime().Compare(a.GetSentAt().AsTime()) })
	page.Attempts = s.attempts[:min(len(s.attempts), listedAttempts)]
	return nil
}

// attemptsOf returns attempts that the worker had since a time, and whether there may be
// more.
func (p *pages) attemptsOf(r *http.Request, id string, since time.Time) (all []*api.Attempt, more bool, err error) {
	request := &api.ListAttemptsRequest{WorkerId: id, From: timestamppb.New(since), PageSize: laneAttempts}
	for range lanePages {
		resp, err := p.Client.ListAttempts(r.Context(), connect.NewRequest(request))
		if err != nil {
			return nil, false, err
		}
		all = append(all, resp.Msg.GetAttempts()...)
		if request.PageToken = resp.Msg.GetNextPageToken(); request.PageToken == "" || len(all) >= laneAttempts {
			break
		}
	}
	return all, request.PageToken != "", nil
}

// eventClass is how an event of a worker is drawn.
func eventClass(kind string) string {
	switch kind {
	case "gone", "superseded", "lease_lost":
		return "lost"
	case "draining", "undrained":
		return "drain"
	case "left":
		return "left"
	}
	return "joined"
}

// lookLinks lead to other times, and to folded ones.
func lookLinks(present string, fold bool) []control {
	address := func(look string, fold bool) string {
		q := url.Values{"look": {look}}
		if fold {
			q.Set("fold", "yes")
		}
		return "?" + q.Encode()
	}
	var links []control
	for _, l := range looks {
		if l.name != present {
			links = append(links, control{"Last " + l.words, address(l.name, fold)})
		}
	}
	return append(links, control{map[bool]string{false: "Fold idle time", true: "Show idle time"}[fold], address(present, !fold)})
}
