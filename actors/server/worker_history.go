package server

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// workerHistory keeps what became of workers, the newest messages.WorkerEventsMax of all.
// It is in memory: every server watches every worker, so that each has them, and servers
// need not agree on who writes what all have seen.
type workerHistory struct {
	mu     sync.Mutex
	events []keptEvent
	// next is where the next one goes, once there are as many as are kept.
	next int
	// added are told of each.
	added notify.Hooks[keptEvent]
}

type keptEvent struct {
	workerID string
	event    *api.WorkerEvent
}

func (h *workerHistory) add(workerID string, e *api.WorkerEvent) {
	defer h.added.Call(keptEvent{workerID, e})
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) < messages.WorkerEventsMax {
		h.events = append(h.events, keptEvent{workerID, e})
		return
	}
	h.events[h.next] = keptEvent{workerID, e}
	h.next = (h.next + 1) % len(h.events)
}

// of returns the newest events of a worker, in order.
func (h *workerHistory) of(workerID string) (out []*api.WorkerEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.events) - 1; i >= 0 && len(out) < messages.EventsOfWorkerMax; i-- {
		if e := h.events[(h.next+i)%len(h.events)]; e.workerID == workerID {
			out = append(out, proto.CloneOf(e.event))
		}
	}
	slices.Reverse(out)
	return out
}
