package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// newsPage bounds one answer about news.
const newsPage = 500

// news is what happened at a server, the newest messages.NewsMax, for who watches the
// cluster. It is in memory: a server that begins has none, and who watched the one before
// is told of the gap.
type news struct {
	mu    sync.Mutex
	items []*messages.News
	// last is the number of the newest, 0 for none.
	last uint64
	// changed is closed with the next one; nil while nobody waits.
	changed chan struct{}
}

func (n *news) put(item *messages.News) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	item.Number = n.last
	if len(n.items) < messages.NewsMax {
		n.items = append(n.items, item)
	} else {
		n.items[(n.last-1)%messages.NewsMax] = item
	}
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// await answers when there is something of the topics after the number, or the wait is
// over.
func (n *news) await(ctx context.Context, m *messages.WatchNews) *messages.WatchNewsReply {
	over := time.NewTimer(min(time.Duration(m.WaitMs)*time.Millisecond, watchWaitMax))
	defer over.Stop()
	for {
		reply, changed := n.after(m)
		if len(reply.News) > 0 || reply.Gap || m.FromNow {
			return reply
		}
		select {
		case <-changed:
		case <-over.C:
			return reply
		case <-ctx.Done():
			return reply
		}
	}
}

// after returns what there is after the number, and what is closed when there is more.
func (n *news) after(m *messages.WatchNews) (*messages.WatchNewsReply, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	reply := &messages.WatchNewsReply{Last: n.last}
	if m.FromNow {
		return reply, nil
	}
	from := m.After
	if kept := n.last - uint64(len(n.items)); from < kept || from > n.last {
		from, reply.Gap = kept, true
	}
	for ; from < n.last; from++ {
		if len(reply.News) == newsPage {
			reply.Last = from
			break
		}
		if item := n.items[from%messages.NewsMax]; len(m.Topics) == 0 || slices.Contains(m.Topics, item.Topic) {
			reply.News = append(reply.News, item)
		}
	}
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return reply, n.changed
}

// runNews are the kinds of news of a run, by the kind of the event.
func runNews(ev *messages.Event) (kind string, reason messages.Reason) {
	switch k := ev.Kind.(type) {
	case *messages.Event_RunStarted:
		return "started", 0
	case *messages.Event_Bound:
		return "bound", k.Bound.Reason
	case *messages.Event_BindingLost:
		return "lost", k.BindingLost.Reason
	case *messages.Event_BindingRestored:
		return "restored", 0
	case *messages.Event_CancelRequested:
		return "cancel_requested", 0
	case *messages.Event_RunReplayed:
		return "replayed", 0
	case *messages.Event_RunContinued:
		return "continued", 0
	case *messages.Event_RunEnded:
		return "ended", 0
	}
	return "", 0
}

// noteRun takes the news of an entry.
func (h *Host) noteRun(state *run.State, entry *messages.Entry) {
	for _, ev := range entry.Events {
		if kind, reason := runNews(ev); kind != "" {
			h.news.put(&messages.News{AtUs: entry.AtUs, Topic: api.TopicRuns, Kind: kind, RunId: state.RunID, Workflow: state.Start.GetWorkflow(),
				Status: state.Status, WorkerId: state.Binding.Worker.GetWorkerId(), Incarnation: state.Binding.Worker.GetIncarnation(), Epoch: state.Epoch, Reason: reason})
		}
	}
}

// noteWorker takes what became of a worker.
func (h *Host) noteWorker(workerID string, e *api.WorkerEvent) {
	h.news.put(&messages.News{AtUs: e.GetAt().AsTime().UnixMicro(), Topic: api.TopicWorkers, Kind: e.GetKind(), WorkerId: workerID, Incarnation: e.GetIncarnation(), Reason: e.GetReason(), Text: e.GetText()})
}

// noteServers has each view told of by how it differs from the one before.
func (h *Host) noteServers() func(*cluster.View) {
	known := map[string]string{}
	first := true
	return func(v *cluster.View) {
		now := map[string]string{}
		for _, m := range v.Members {
			if m.Role == cluster.RoleServer {
				now[m.Name] = memberStates[m.State]
			}
		}
		for name, state := range now {
			if was, there := known[name]; !there && !first {
				h.noteServer("joined", name, state)
			} else if there && was != state {
				h.noteServer("changed", name, state)
			}
		}
		for name := range known {
			if _, there := now[name]; !there {
				h.noteServer("left", name, "gone")
			}
		}
		known, first = now, false
	}
}

func (h *Host) noteServer(kind, name, state string) {
	h.news.put(&messages.News{AtUs: h.clock.Now().UnixMicro(), Topic: api.TopicMembers, Kind: kind, Text: name + " " + state})
}
