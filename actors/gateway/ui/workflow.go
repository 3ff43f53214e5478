package ui

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// recentRuns are the runs that the page of a workflow looks at, the newest.
const recentRuns = 500

// workflowPage is a workflow, its versions and how its newest runs fared.
type workflowPage struct {
	*api.Workflow
	Told     string
	Graph    *graph
	Versions []*api.WorkflowVersion
	// Counts are of all its runs.
	Counts []statusCount
	// On is how many of the newest runs are on each version, by hash.
	On     map[string]int
	Recent recent
}

// recent is what the newest runs tell.
type recent struct {
	Runs int
	// Rate at which they were started, from the first of them to the last.
	Rate     string
	Statuses []counted
	// Took are times from start to end of those that succeeded, by share of them.
	Took []percentile
	// Failures are by code and message, the most frequent first.
	Failures []failures
}

type counted struct {
	Status messages.RunStatus
	Runs   int
}

type percentile struct {
	Share int
	Took  string
}

type failures struct {
	Code, Message string
	Runs          int
	// Newest is a run that failed so.
	Newest string
}

func (p *pages) workflow(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	all, err := p.Client.ListWorkflows(r.Context(), connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all.Msg.GetWorkflows(), func(w *api.Workflow) bool { return w.GetDefinition().GetName() == name })
	if i < 0 {
		return nil, messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q", name)
	}
	versions, err := p.Client.ListWorkflowVersions(r.Context(), connect.NewRequest(&api.ListWorkflowVersionsRequest{Workflow: name}))
	if err != nil {
		return nil, err
	}
	runs, err := p.Client.ListRuns(r.Context(), connect.NewRequest(&api.ListRunsRequest{Workflow: name, PageSize: recentRuns}))
	if err != nil {
		return nil, err
	}
	w := all.Msg.GetWorkflows()[i]
	page := workflowPage{Workflow: w, Told: told(r), Graph: drawGraph(nodesOf(w.GetDefinition())), Versions: versions.Msg.GetVersions(), On: map[string]int{}, Recent: lookBack(runs.Msg.GetRuns())}
	counted, err := p.Client.CountRuns(r.Context(), connect.NewRequest(&api.CountRunsRequest{Workflow: name}))
	if err != nil {
		return nil, err
	}
	for _, c := range counted.Msg.GetCounts() {
		page.Counts = append(page.Counts, statusCount{c.GetStatus(), countText(c)})
	}
	for _, run := range runs.Msg.GetRuns() {
		page.On[run.GetDefinitionHash()]++
	}
	return p.show(r, "workflow", "Workflow "+name, "workflows", page)
}

// lookBack sums up runs, the newest first.
func lookBack(runs []*api.Run) recent {
	r := recent{Runs: len(runs), Rate: rateOf(runs)}
	byStatus := map[messages.RunStatus]int{}
	var took []time.Duration
	for _, run := range runs {
		byStatus[run.GetStatus()]++
		if run.GetStatus() == messages.RunStatus_RUN_STATUS_SUCCEEDED {
			took = append(took, run.GetFinishedAt().AsTime().Sub(run.GetCreatedAt().AsTime()))
		}
		if f := run.GetFailure(); f != nil {
			r.failed(f, run.GetRunId())
		}
	}
	for _, s := range statuses {
		if n := byStatus[s]; n > 0 {
			r.Statuses = append(r.Statuses, counted{s, n})
		}
	}
	slices.SortStableFunc(r.Failures, func(a, b failures) int { return cmp.Compare(b.Runs, a.Runs) })
	slices.Sort(took)
	for _, share := range []int{50, 90, 99, 100} {
		if len(took) > 0 {
			r.Took = append(r.Took, percentile{share, spanText(took[(len(took)*share+99)/100-1])})
		}
	}
	return r
}

// rateOf says how often runs were started, the newest first; empty for fewer than two.
func rateOf(runs []*api.Run) string {
	if len(runs) < 2 {
		return ""
	}
	between := runs[0].GetCreatedAt().AsTime().Sub(runs[len(runs)-1].GetCreatedAt().AsTime())
	rate := float64(len(runs)-1) / max(between, time.Millisecond).Seconds()
	switch {
	case rate >= 1:
		return fmt.Sprintf("%.3g a second", rate)
	case rate*60 >= 1:
		return fmt.Sprintf("%.3g a minute", rate*60)
	}
	return fmt.Sprintf("%.3g an hour", rate*3600)
}

func (r *recent) failed(f *messages.Failure, runID string) {
	for i := range r.Failures {
		if r.Failures[i].Code == f.GetCode() && r.Failures[i].Message == f.GetMessage() {
			r.Failures[i].Runs++
			return
		}
	}
	r.Failures = append(r.Failures, failures{f.GetCode(), f.GetMessage(), 1, runID})
}
