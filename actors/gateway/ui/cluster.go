package ui

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

type workersPage struct {
	Workers []*api.Worker
	// Of those that are up.
	Slots, Running, Queued, Bound int32
}

func (p *pages) workers(r *http.Request) (answer, error) {
	resp, err := p.Client.ListWorkers(r.Context(), connect.NewRequest(&api.ListWorkersRequest{}))
	if err != nil {
		return nil, err
	}
	page := workersPage{Workers: resp.Msg.GetWorkers()}
	for _, w := range page.Workers {
		if w.GetState() != api.WorkerGone {
			page.Slots += w.GetSlots()
			page.Running += w.GetRunning()
			page.Queued += w.GetQueued()
			page.Bound += w.GetBoundRuns()
		}
	}
	return p.show(r, "workers", "Workers", "workers", page)
}

// listedWorkflow is a workflow of the list, with how many runs it has of the statuses.
type listedWorkflow struct {
	*api.Workflow
	Counts []statusCount
}

// statusCount is how many runs there are, as a text.
type statusCount struct {
	Status messages.RunStatus
	Runs   string
}

func (p *pages) workflows(r *http.Request) (answer, error) {
	resp, err := p.Client.ListWorkflows(r.Context(), connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err != nil {
		return nil, err
	}
	counted, err := p.Client.CountRuns(r.Context(), connect.NewRequest(&api.CountRunsRequest{ByWorkflow: true}))
	if err != nil {
		return nil, err
	}
	counts := map[string][]statusCount{}
	for _, c := range counted.Msg.GetCounts() {
		counts[c.GetWorkflow()] = append(counts[c.GetWorkflow()], statusCount{c.GetStatus(), countText(c)})
	}
	var all []listedWorkflow
	for _, w := range resp.Msg.GetWorkflows() {
		all = append(all, listedWorkflow{w, counts[w.GetDefinition().GetName()]})
	}
	return p.show(r, "workflows", "Workflows", "workflows", all)
}

type clusterPage struct {
	*api.ListMembersResponse
	Servers []*api.Member
	Workers []clusterWorker
	// Shards that have an owner, of all.
	Owned, Shards int32
}

// clusterWorker is a process of a worker, and how its lease fares: as the newest events say.
type clusterWorker struct {
	*api.Member
	ID    string
	Lease string
	// Held says that it has one.
	Held bool
}

// leasesLooked are of how many workers the page says how their leases fare.
const leasesLooked = 100

func (p *pages) cluster(r *http.Request) (answer, error) {
	resp, err := p.Client.ListMembers(r.Context(), connect.NewRequest(&api.ListMembersRequest{}))
	if err != nil {
		return nil, err
	}
	page := clusterPage{ListMembersResponse: resp.Msg, Shards: messages.Shards}
	for _, m := range resp.Msg.GetMembers() {
		if m.GetRole() == api.RoleServer {
			page.Servers = append(page.Servers, m)
			page.Owned += m.GetShards()
			continue
		}
		id, incarnation, _ := strings.Cut(m.GetName(), "~")
		w := clusterWorker{Member: m, ID: id}
		if len(page.Workers) < leasesLooked {
			w.Lease, w.Held = p.leaseOf(r, id, incarnation)
		}
		page.Workers = append(page.Workers, w)
	}
	slices.SortFunc(page.Servers, func(a, b *api.Member) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return p.show(r, "cluster", "Cluster", "cluster", page)
}

// leaseOf says how the lease of a process of a worker fares; of one that cannot be asked
// for it says nothing.
func (p *pages) leaseOf(r *http.Request, id, incarnation string) (text string, held bool) {
	got, err := p.Client.GetWorker(r.Context(), connect.NewRequest(&api.GetWorkerRequest{WorkerId: id}))
	if err != nil || got.Msg.GetWorker().GetIncarnation() != incarnation {
		return "", false
	}
	text, held = "held", true
	lost := 0
	var last time.Time
	for _, e := range got.Msg.GetEvents() {
		if e.GetIncarnation() != incarnation {
			continue
		}
		switch e.GetKind() {
		case "lease_lost":
			text, held, last = "lost", false, e.GetAt().AsTime()
			lost++
		case "lease_back":
			text, held = "held", true
		}
	}
	if held && lost > 0 {
		text += ", lost before, last at " + last.UTC().Format("15:04:05")
	}
	return text, held
}
