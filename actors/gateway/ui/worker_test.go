package ui

import (
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// The page of a worker has a lane for each process, with the attempts of all runs and
// what became of the worker, and the newest event first.
func TestPageOfAWorker(t *testing.T) {
	s := &service{
		List:    &api.ListRunsResponse{},
		Workers: []*api.Worker{{WorkerId: "w1", Incarnation: "i2", State: api.WorkerUp, StartedAt: at(30), Slots: 2}},
		WorkerAttempts: &api.ListAttemptsResponse{NextPageToken: "more", Attempts: []*api.Attempt{
			{RunId: "r1", Workflow: "build", Step: "a", Number: 1, WorkerId: "w1", Incarnation: "i1", SentAt: at(0), StartedAt: at(1), EndedAt: at(20), Outcome: "lost", Why: "worker lost"},
			{RunId: "r2", Workflow: "build", Step: "b", Number: 3, WorkerId: "w1", Incarnation: "i2", SentAt: at(31), StartedAt: at(32), Outcome: api.OutcomeLive},
		}},
		Events: []*api.WorkerEvent{
			{At: at(20), Kind: "gone", Incarnation: "i1", Reason: messages.Reason_REASON_WORKER_LOST, Text: "a worker is lost"},
			{At: at(30), Kind: "joined", Incarnation: "i2", Text: "a worker is back, as another process"},
		},
	}
	_, body := ask(t, newPages(t, s, nil), http.MethodGet, "/ui/workers/w1?look=5m", "")
	body = html.UnescapeString(body)
	after := 0
	for _, want := range []string{
		"The last 5 minutes", ">Last 15 minutes<", ">w1 (i1)<", `href="/ui/runs/r1"`, "build r1, a, attempt 1: lost, worker lost, ran 19.0 s", ">w1 (i2)<", "build r2, b, attempt 3: live",
		`<g class="mark lost"><title>a worker is lost, at 11:59:20.000`, `<g class="mark joined"><title>a worker is back, as another process`, "limpet worker attempts",
		`<span class="status joined">joined</span>`, `<span class="status gone">gone</span>`, `data-key="r2 b#3"`, `data-key="r1 a#1"`,
	} {
		i := strings.Index(body[after:], want)
		if i < 0 {
			t.Fatalf("the page lacks %q where it is to be:\n%s", want, body)
		}
		after += i
	}
}
