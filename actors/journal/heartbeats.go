package journal

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Heartbeats keeps heartbeats in memory, for stores that all their servers share
// a process with. The zero value is empty; it is safe for concurrent use.
type Heartbeats struct {
	mu     sync.Mutex
	newest map[string]heartbeat
}

type heartbeat struct {
	data []byte
	at   time.Time
}

// Heartbeat is that of Store.
func (h *Heartbeats) Heartbeat(server string, data []byte) []messages.StoredHeartbeat {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.newest == nil {
		h.newest = map[string]heartbeat{}
	}
	h.newest[server] = heartbeat{slices.Clone(data), now}
	maps.DeleteFunc(h.newest, func(_ string, b heartbeat) bool { return now.Sub(b.at) > HeartbeatsKept })
	out := make([]messages.StoredHeartbeat, 0, len(h.newest))
	for name, b := range h.newest {
		out = append(out, messages.StoredHeartbeat{Server: name, Data: slices.Clone(b.data), Age: now.Sub(b.at)})
	}
	slices.SortFunc(out, func(a, b messages.StoredHeartbeat) int { return strings.Compare(a.Server, b.Server) })
	return out
}
