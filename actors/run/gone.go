package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// goneProcesses are the processes that were found out of use, although
// placement may not know it yet, and when that was.
type goneProcesses map[string]time.Time

// goneFor is how long a process that cannot be used is not taken from
// placement, which will have heard of it by then. It may come back later
// without news of it.
const goneFor = 5 * time.Second

// process names a worker with its incarnation.
func process(w *messages.WorkerRef) string { return w.GetWorkerId() + "~" + w.GetIncarnation() }

func (g *goneProcesses) add(w *messages.WorkerRef, now time.Time) {
	if *g == nil {
		*g = goneProcesses{}
	}
	(*g)[process(w)] = now
}

func (g goneProcesses) back(w *messages.WorkerRef) { delete(g, process(w)) }

func (g goneProcesses) has(w *messages.WorkerRef, now time.Time) bool {
	if len(g) == 0 {
		return false
	}
	at, ok := g[process(w)]
	return ok && now.Before(at.Add(goneFor))
}
