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

// The page of the cluster leads to workers by their ids, and says how their leases and the
// journal fare; that of the workflows has the numbers of runs.
func TestClusterAndWorkflows(t *testing.T) {
	s := &service{
		Members:     []*api.Member{{Name: "w1~i2", Role: api.RoleWorker, State: api.MemberReady}},
		Workers:     []*api.Worker{{WorkerId: "w1", Incarnation: "i2", State: api.WorkerUp}},
		Events:      []*api.WorkerEvent{{At: at(1), Kind: "lease_lost", Incarnation: "i1"}, {At: at(2), Kind: "lease_lost", Incarnation: "i2"}, {At: at(3), Kind: "lease_back", Incarnation: "i2"}},
		Workflows:   []*api.Workflow{{Hash: "h", Definition: &messages.WorkflowDefinition{Name: "build"}}},
		JournalLost: "it does not answer",
	}
	h := newPages(t, s, nil)
	for path, wants := range map[string][]string{
		"/ui/cluster":   {`<a href="/ui/workers/w1">w1</a>`, "held, lost before, last at 11:59:02", "The journal is out of reach"},
		"/ui/workflows": {`<a class="quiet" href="/ui/?workflow=build&amp;status=failed">2 failed</a>`, "10\u202f000&#43; running"},
	} {
		_, body := ask(t, h, http.MethodGet, path, "")
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, body)
			}
		}
	}
}
