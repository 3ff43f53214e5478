package cluster

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// Signs is a place that all servers reach without each other: their store.
type Signs interface {
	// SignOfLife replaces the server's sign and returns the newest of each.
	SignOfLife(ctx context.Context, server string, data []byte) ([]Sign, error)
}

// Sign is a server's sign of life; Age is by the clock of where it is kept.
type Sign struct {
	Server string
	Data   []byte
	Age    time.Duration
}

// seenSigns knows which signs of life are still given. Their age alone does not
// tell: when the store's clock is set back, or another machine with a slower
// one takes its place, the sign of a dead server stays young for as long.
type seenSigns struct {
	looked   time.Time
	byServer map[string]seenSign
}

// seenSign is the newest sign of a server, and when it was given, by the clock
// of this process.
type seenSign struct {
	server string
	said   *messages.ServerSign
	at     time.Time
}

// fresh returns those of the signs, as they were read now, that were given a
// moment ago.
func (s *seenSigns) fresh(now time.Time, signs []Sign) []seenSign {
	next := make(map[string]seenSign, len(signs))
	var out []seenSign
	for _, sign := range signs {
		said := new(messages.ServerSign)
		if proto.Unmarshal(sign.Data, said) != nil {
			continue
		}
		n := seenSign{sign.Server, said, now.Add(-sign.Age)}
		if last, known := s.byServer[sign.Server]; known {
			switch {
			case last.said.Serial == said.Serial:
				n.at = last.at
			case n.at.Before(s.looked):
				n.at = s.looked
			}
		}
		next[sign.Server] = n
		if now.Sub(n.at) <= signFresh {
			out = append(out, n)
		}
	}
	s.looked, s.byServer = now, next
	return out
}

// replaced says whether a server was started anew, by a process that was heard
// of: what is left of it does not live.
func replaced(server string, heard []Member) bool {
	id, incarnation, ok := splitName(server)
	return ok && slices.ContainsFunc(heard, func(m Member) bool {
		return m.Role == RoleServer && m.WorkerID == id && m.Incarnation > incarnation
	})
}
