package gossip

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// Servers of one cluster share a store, which has an identity. A member of another
// store is never let in:
//
//   - S1. A server has the identity of its store. A worker takes that of the first
//     server that is ready, and keeps it.
//   - S2. Nobody takes in what a member of another store knows, nor hears of that
//     member through others.
//   - S3. A server that starts ends when it meets a server of another store that is
//     ready, or that started before it. So of two that start at once one ends. A
//     server that is ready never ends for that.
//   - S4. A worker that starts ends when it meets ready servers of two stores. Later
//     it ends when none of its own has been there for foreignPatience and another
//     store's is ready, unless its own store was in memory: then it goes over to it.

const (
	// foreignPatience is how long a worker waits for servers of its own store.
	foreignPatience = 10 * time.Second
	// sightFor is how long a server of another store counts as there, and sightLog
	// the pause before it is logged again.
	sightFor = 5 * time.Second
	sightLog = time.Minute
	// sightsMax bounds the servers of other stores that are remembered.
	sightsMax = 64
)

// stores is which store this node belongs to, and which servers of others it met. Its
// lock is always the innermost.
type stores struct {
	mu   sync.Mutex
	mine string
	// sights by the names of the servers.
	sights map[string]sight
	// alone is since when the node is lonely and another store's server is there.
	alone time.Time
}

// sight is a server of another store as it was met last.
type sight struct {
	member     Member
	at, logged time.Time
}

func (s *stores) own() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine
}

// errForeign refuses a member of another store.
var errForeign = errors.New("it is of another store")

// meet takes in a member that is about to be let in: errForeign if it may not be.
func (s *stores) meet(m Member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := m.Role == RoleServer && m.State == StateReady
	if s.mine == "" && ready {
		s.mine = m.Store
	}
	if m.Store == "" || s.mine == "" || m.Store == s.mine {
		return nil
	}
	if _, known := s.sights[m.Name]; m.Role == RoleServer && (known || len(s.sights) < sightsMax) {
		if s.sights == nil {
			s.sights = map[string]sight{}
		}
		s.sights[m.Name] = sight{m, time.Now(), s.sights[m.Name].logged}
	}
	return errForeign
}

// there are the servers of other stores that were met of late.
func (s *stores) there() (members []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, seen := range s.sights {
		if time.Since(seen.at) > sightLog+sightFor {
			delete(s.sights, name)
		} else if time.Since(seen.at) <= sightFor {
			members = append(members, seen.member)
		}
	}
	return members
}

// toLog are those of the servers that are there that were not logged for long.
func (s *stores) toLog() (members []Member) {
	there := s.there()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range there {
		if seen := s.sights[m.Name]; time.Since(seen.logged) > sightLog {
			seen.logged = time.Now()
			s.sights[m.Name] = seen
			members = append(members, m)
		}
	}
	return members
}

// lonelyAmong says whether a lonely worker has had enough of the wait for its own
// servers, and forgets a store that was in memory: the next server's is its own.
func (s *stores) lonelyAmong(lonely, ready bool) (enough, forgot bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !lonely || !ready:
		s.alone = time.Time{}
	case strings.HasPrefix(s.mine, messages.StoreInMemory):
		s.mine, s.sights = "", nil
		return false, true
	case s.alone.IsZero():
		s.alone = time.Now()
	}
	return !s.alone.IsZero() && time.Since(s.alone) >= foreignPatience, false
}

// mismatch is the error of a node that meets a server of another store.
func (g *Gossip) mismatch(other Member) error {
	return messages.Errorf(messages.CodeStoreMismatch, "this %s belongs to the store %s, and server %s at %s has the store %s",
		g.Self().Role, g.stores.own(), other.WorkerID, other.GossipAddress, other.Store)
}

// mustEnd is why a node that starts may not go on (S3, S4).
func (g *Gossip) mustEnd() error {
	self := g.Self()
	for _, m := range g.stores.there() {
		if m.State != StateJoining || self.Role == RoleServer && m.Incarnation < self.Incarnation {
			return g.mismatch(m)
		}
	}
	return nil
}

// among looks after a node that runs and meets servers of other stores.
func (g *Gossip) among(lonely bool) {
	for _, m := range g.stores.toLog() {
		g.config.Logger.Error("a server of another store is refused: is its store the one of this cluster?", "error", g.mismatch(m))
	}
	if g.Self().Role != RoleWorker {
		return
	}
	var ready *Member
	for _, m := range g.stores.there() {
		if m.State == StateReady {
			ready = &m
		}
	}
	mine := g.stores.own()
	enough, forgot := g.stores.lonelyAmong(lonely, ready != nil)
	switch {
	case enough:
		g.config.Foreign(g.mismatch(*ready))
	case forgot:
		g.config.Logger.Warn("the store that this worker belonged to was in memory and is gone: it goes over to another one", "was", mine, "store", ready.Store)
		_ = g.update(ShowFor) // so that the others let it in
	}
}

var (
	_ memberlist.AliveDelegate = delegate{}
	_ memberlist.MergeDelegate = delegate{}
)

// errNoUse refuses a worker at a worker.
var errNoUse = errors.New("a worker has no use for other workers")

// hasUseFor says whether this node wants to know a member (M7).
func (g *Gossip) hasUseFor(m Member) bool {
	self := g.Self()
	return self.Role != RoleWorker || m.Role != RoleWorker || m.Name == self.Name
}

// NotifyAlive is called under memberlist's lock (M5).
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	m := memberOf(n)
	if !d.g.hasUseFor(m) {
		return errNoUse
	}
	return d.g.stores.meet(m)
}

// NotifyMerge refuses all that another node knows if one of its servers is of
// another store.
func (d delegate) NotifyMerge(peers []*memberlist.Node) error {
	var refused error
	for _, n := range peers {
		if n.State != memberlist.StateAlive && n.State != memberlist.StateSuspect {
			continue
		}
		if m := memberOf(n); d.g.hasUseFor(m) && d.g.stores.meet(m) != nil {
			refused = d.g.mismatch(m)
		}
	}
	return refused
}

// memberOf is what matters here of a member; of one that cannot be read nothing.
func memberOf(n *memberlist.Node) Member {
	var meta messages.MemberMeta
	_ = proto.Unmarshal(n.Meta, &meta)
	id, incarnation, _ := SplitName(n.Name)
	return Member{Name: n.Name, WorkerID: id, Incarnation: incarnation, Role: Role(meta.Role), State: State(meta.State), Store: meta.Store,
		GossipAddress: hostPort(n.Addr, n.Port)}
}
