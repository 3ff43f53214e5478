package ui

import (
	"cmp"
	"net/http"
	"slices"

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
	return p.show("workers", "Workers", "workers", page)
}

func (p *pages) workflows(r *http.Request) (answer, error) {
	resp, err := p.Client.ListWorkflows(r.Context(), connect.NewRequest(&api.ListWorkflowsRequest{}))
	if err != nil {
		return nil, err
	}
	return p.show("workflows", "Workflows", "workflows", resp.Msg.GetWorkflows())
}

type clusterPage struct {
	Servers, Workers []*api.Member
	// Shards that have an owner, of all.
	Owned, Shards int32
}

func (p *pages) cluster(r *http.Request) (answer, error) {
	resp, err := p.Client.ListMembers(r.Context(), connect.NewRequest(&api.ListMembersRequest{}))
	if err != nil {
		return nil, err
	}
	page := clusterPage{Shards: messages.Shards}
	for _, m := range resp.Msg.GetMembers() {
		if m.GetRole() == api.RoleServer {
			page.Servers = append(page.Servers, m)
			page.Owned += m.GetShards()
		} else {
			page.Workers = append(page.Workers, m)
		}
	}
	slices.SortFunc(page.Servers, func(a, b *api.Member) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return p.show("cluster", "Cluster", "cluster", page)
}
