package ui

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages/api"
)

// workerPage is a worker and the runs that are bound to it.
type workerPage struct {
	*api.Worker
	Told string
	Runs []*api.Run
	More bool
	// Drains says that it does, Gone that it is; Ends that its process is to end.
	Drains, Gone bool
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
	return p.show("worker", "Worker "+id, "workers", workerPage{
		Worker: w, Told: told(r), Runs: runs.Msg.GetRuns(), More: runs.Msg.GetNextPageToken() != "",
		Drains: w.GetState() == api.WorkerDraining, Gone: w.GetState() == api.WorkerGone,
	})
}
