package journal

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Signs keeps signs of life in memory, for stores that all their servers share
// a process with. The zero value is empty; it is safe for concurrent use.
type Signs struct {
	mu    sync.Mutex
	given map[string]givenSign
}

type givenSign struct {
	data []byte
	at   time.Time
}

// SignOfLife is that of Store.
func (s *Signs) SignOfLife(server string, data []byte) []Sign {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.given == nil {
		s.given = map[string]givenSign{}
	}
	s.given[server] = givenSign{slices.Clone(data), now}
	maps.DeleteFunc(s.given, func(_ string, g givenSign) bool { return now.Sub(g.at) > SignsKept })
	out := make([]Sign, 0, len(s.given))
	for name, g := range s.given {
		out = append(out, Sign{name, slices.Clone(g.data), now.Sub(g.at)})
	}
	slices.SortFunc(out, func(a, b Sign) int { return strings.Compare(a.Server, b.Server) })
	return out
}
