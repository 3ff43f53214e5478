package places

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/messages"
)

// What placement waits for, each on a goroutine of its own that ends with a
// message back.

const (
	// probeWithin is how long another process of a worker id has to answer.
	probeWithin = 500 * time.Millisecond
	// recordWithin and listWithin bound what the journal is asked.
	recordWithin = 5 * time.Second
	listWithin   = 5 * time.Second
	listPage     = 1000
)

// probe asks whether a process still lives. One whose address refuses
// connections does not, and one at whose address the new process itself
// listens does not either; one that is silent may be frozen.
func (a *placementActor) probe(p placement.Probe) {
	root, self, node := a.root, a.self, a.deps.Node
	view := node.View()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeWithin)
		defer cancel()
		out := placementProbed{probe: p}
		for _, m := range view.Members {
			if m.Incarnation == p.Incarnation && m.Address == p.Rival.Address {
				out.gone = true
			}
		}
		refused := make(chan bool, 1)
		go func() { refused <- node.Refused(ctx, p.Rival.Address) }()
		if !out.gone {
			reply, err := node.Request(ctx, actor.NewPID(p.Rival.Address, p.Rival.ActorID), &messages.Describe{})
			d, ok := reply.(*messages.DescribeReply)
			if err == nil && ok && d.GetWorker().GetIncarnation() == p.Rival.Incarnation {
				out.by, out.draining = d.GetWorker(), d.GetDraining()
			} else {
				out.gone = <-refused
			}
		}
		root.Send(self, out)
	}()
}

// record makes the worker's definitions durable.
func (a *placementActor) record(info *messages.WorkerInfo) {
	at := a.deps.Clock.Now().Add(-a.running[info.GetIncarnation()])
	delete(a.running, info.GetIncarnation())
	root, self, known, caught := a.root, a.self, a.deps.Definitions, a.of.guard
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), recordWithin)
		defer cancel()
		out := placementRecorded{worker: info}
		out.err = caught.Do(func() (err error) {
			out.notices, err = known.Register(ctx, info.GetWorkflows(), at)
			return err
		})
		root.Send(self, out)
	}()
}

// list reads which unfinished runs are bound to a worker.
func (a *placementActor) list(workerID string) {
	root, self, store, caught := a.root, a.self, a.deps.Store, a.of.guard
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), listWithin)
		defer cancel()
		out := placementListed{workerID: workerID}
		out.err = caught.Do(func() (err error) {
			out.runs, err = boundRuns(ctx, store, workerID)
			return err
		})
		root.Send(self, out)
	}()
}

// answerBound reads a page of the HARD runs that are bound to a worker. A run
// whose row says so has not ended.
func (a *placementActor) answerBound(asker *actor.PID, m *messages.BoundRunsOf) {
	if asker == nil {
		return
	}
	root, store, caught := a.root, a.deps.Store, a.of.guard
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), listWithin)
		defer cancel()
		reply := &messages.BoundRunsReply{}
		reply.Error = messages.ToFailure(caught.Do(func() error {
			rows, next, err := store.List(ctx, journal.Filter{BoundWorker: m.GetWorkerId()}, listPage, m.GetPageToken())
			reply.NextPageToken = next
			for _, row := range rows {
				if row.Sticky == messages.Sticky_STICKY_HARD {
					reply.Runs = append(reply.Runs, row.RunID)
				}
			}
			return err
		}))
		root.Send(asker, reply)
	}()
}

func boundRuns(ctx context.Context, store journal.Store, workerID string) ([]string, error) {
	filter := journal.Filter{BoundWorker: workerID, Statuses: []messages.RunStatus{messages.RunStatus_RUN_STATUS_RUNNING}}
	var runs []string
	for token := ""; ; {
		rows, next, err := store.List(ctx, filter, listPage, token)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			runs = append(runs, row.RunID)
		}
		if next == "" {
			return runs, nil
		}
		token = next
	}
}
