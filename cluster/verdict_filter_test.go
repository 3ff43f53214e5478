package cluster

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// countedHeartbeats is a store that nobody else writes to.
type countedHeartbeats struct {
	given []time.Time
}

func (s *countedHeartbeats) Heartbeat(_ context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	s.given = append(s.given, time.Now())
	return []messages.StoredHeartbeat{{Server: server, Data: data}}, nil
}

// hears puts a member among those that were heard of.
func (m *membership) hears(t *testing.T, member Member) {
	t.Helper()
	meta, err := encodeMeta(member)
	if err != nil {
		t.Fatal(err)
	}
	m.events.appearances++
	m.events.live[member.Name] = heard{name: member.Name, appearance: m.events.appearances, address: member.GossipAddress, meta: meta}
}

// While another server sees a worker live that this one misses, this one cannot
// conclude anything for long, and goes on to tell the others that it lives itself.
func TestHeartbeatsGoOnHoweverLongAVerdictTakes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMembership(Config{Logger: slog.New(slog.DiscardHandler)}, &drowsiness{}, nil, nil)
		self := Member{Name: "a~1", Role: RoleServer, State: StateReady, Address: "10.0.0.1:1", GossipAddress: "10.0.0.1:2"}
		other := Member{Name: "b~1", Role: RoleServer, State: StateReady, Address: "10.0.0.2:1", GossipAddress: "10.0.0.2:2"}
		missed := Member{Name: "w~1", Role: RoleWorker, State: StateReady, Address: "10.0.0.3:1", GossipAddress: "10.0.0.3:2"}
		m.self.Store(&self)
		m.hears(t, self)
		m.hears(t, other)
		beats := &countedHeartbeats{}
		f := newVerdictFilter(m, self.Name, beats, poller{func(context.Context, Member, *messages.Ping) (*messages.Pong, error) {
			return &messages.Pong{Known: true, There: []string{missed.Name}}, nil
		}})
		old := NewView(1, []Member{self, other, missed})
		heard, _, _ := m.heardMembers()
		if n := len(f.filter(old, heard)); n != 3 {
			t.Fatalf("%d members are left, the missed one is not held", n)
		}
		m.current.Store(&viewState{view: old, changed: make(chan struct{})})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.loop(ctx) }()
		time.Sleep(5 * time.Second)
		stop()
		<-done
		held, _ := f.rules.Hold(f.quorumMembers([]Member{missed}), true)
		if len(held) != 1 || len(beats.given) < 8 {
			t.Fatalf("%d members held, %d heartbeats in 5 s, at %v", len(held), len(beats.given), beats.given)
		}
	})
}

// A worker that drains goes on with its runs, so that one that this server
// misses is held like any other; one that has ended is not, nor a server that
// is about to leave.
func TestFilterHoldsWorkersThatDrain(t *testing.T) {
	m := newMembership(Config{Logger: slog.New(slog.DiscardHandler)}, &drowsiness{}, nil, nil)
	self := Member{Name: "a~1", Role: RoleServer, State: StateReady, Address: "10.0.0.1:1", GossipAddress: "10.0.0.1:2"}
	other := Member{Name: "b~1", Role: RoleServer, State: StateReady, Address: "10.0.0.2:1", GossipAddress: "10.0.0.2:2"}
	leaves := Member{Name: "c~1", Role: RoleServer, State: StateDraining, Address: "10.0.0.3:1", GossipAddress: "10.0.0.3:2"}
	m.self.Store(&self)
	m.hears(t, self)
	m.hears(t, other)
	worker := func(name string, state State) Member {
		return Member{Name: name, Role: RoleWorker, State: state, Address: "10.0.0.4:1", GossipAddress: "10.0.0.4:2"}
	}
	old := NewView(1, []Member{self, other, leaves, worker("draining~1", StateDraining), worker("ended~1", StateLeaving),
		worker("joining~1", StateJoining), worker("leaving~1", StateLeaving)})
	m.leases.over("ended~1", true)
	f := newVerdictFilter(m, self.Name, &countedHeartbeats{}, poller{})
	heard, _, _ := m.heardMembers()
	var held []string
	for _, next := range f.filter(old, heard)[len(heard):] {
		held = append(held, next.Name)
	}
	if slices.Sort(held); !slices.Equal(held, []string{"draining~1", "leaving~1"}) {
		t.Fatalf("held are %v", held)
	}
}
