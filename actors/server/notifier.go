package server

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/notify"
)

// notifier sends news of workers in the order in which they were put in, on a
// goroutine of its own, so that a hundred thousand watchers hold nobody up.
type notifier struct {
	send  func(to *actor.PID, n *run.WorkerChanged)
	queue notify.Queue[notice]
	// changed is called before the runs that watch a worker are told, told after.
	changed, told notify.Hooks[run.WorkerChanged]
}

// notice is news of a worker, or a mark in the order of the news.
type notice struct {
	news *run.WorkerChanged
	to   []*actor.PID
	// public: the hooks are called too.
	public bool
	// told is closed when everything before it has been told; nil for news.
	told chan struct{}
}

func (n *notifier) run(ctx context.Context) { n.queue.Run(ctx, n.tell) }

func (n *notifier) tell(x notice) {
	if x.told != nil {
		close(x.told)
		return
	}
	if x.public {
		n.changed.Call(*x.news)
	}
	for _, to := range x.to {
		n.send(to, x.news)
	}
	if x.public {
		n.told.Call(*x.news)
	}
}

// close lets nobody wait for what is not told any more. It comes after run has
// ended, and after the last notice.
func (n *notifier) close() {
	for _, x := range n.queue.Take() {
		if x.told != nil {
			close(x.told)
		}
	}
}
