package cluster

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/cluster/gossip"
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

// alone makes the members of a node that does not listen.
func alone(c Config, self Member) *members {
	c.Logger = slog.New(slog.DiscardHandler)
	return newMembers(c, gossip.Config{Self: self, Preset: c.Preset, Logger: c.Logger, Delay: &gossip.SchedulingDelay{}}, membersHooks{})
}

// While another server sees a worker live that this one misses, this one cannot
// conclude anything for long, and goes on to tell the others that it lives itself.
func TestHeartbeatsGoOnHoweverLongAVerdictTakes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		self := Member{Name: "a~1", Role: RoleServer, State: StateReady, Address: "10.0.0.1:1", GossipAddress: "10.0.0.1:2"}
		other := Member{Name: "b~1", Role: RoleServer, State: StateReady, Address: "10.0.0.2:1", GossipAddress: "10.0.0.2:2"}
		missed := Member{Name: "w~1", Role: RoleWorker, State: StateReady, Address: "10.0.0.3:1", GossipAddress: "10.0.0.3:2"}
		m := alone(Config{}, self)
		beats := &countedHeartbeats{}
		f := newVerdictFilter(m, beats, poller{func(context.Context, Member, *messages.Ping) (*messages.Pong, error) {
			return &messages.Pong{Known: true, There: []string{missed.Name}}, nil
		}})
		heard := []Member{self, other}
		f.heard = func() []Member { return slices.Clone(heard) }
		old := NewView(1, []Member{self, other, missed})
		if n := len(f.filter(old, f.heard())); n != 3 {
			t.Fatalf("%d members are left, the missed one is not held", n)
		}
		m.views.Set(old)
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
	self := Member{Name: "a~1", Role: RoleServer, State: StateReady, Address: "10.0.0.1:1", GossipAddress: "10.0.0.1:2"}
	other := Member{Name: "b~1", Role: RoleServer, State: StateReady, Address: "10.0.0.2:1", GossipAddress: "10.0.0.2:2"}
	leaves := Member{Name: "c~1", Role: RoleServer, State: StateDraining, Address: "10.0.0.3:1", GossipAddress: "10.0.0.3:2"}
	m := alone(Config{}, self)
	worker := func(name string, state State) Member {
		return Member{Name: name, Role: RoleWorker, State: state, Address: "10.0.0.4:1", GossipAddress: "10.0.0.4:2"}
	}
	old := NewView(1, []Member{self, other, leaves, worker("draining~1", StateDraining), worker("ended~1", StateLeaving),
		worker("joining~1", StateJoining), worker("leaving~1", StateLeaving)})
	m.leases.table.over(now(), "ended~1", true)
	f := newVerdictFilter(m, &countedHeartbeats{}, poller{})
	heard := []Member{self, other}
	var held []string
	for _, next := range f.filter(old, slices.Clone(heard))[len(heard):] {
		held = append(held, next.Name)
	}
	if slices.Sort(held); !slices.Equal(held, []string{"draining~1", "leaving~1"}) {
		t.Fatalf("held are %v", held)
	}
}

// The only other server leaves, and may have given leases to a worker that this one
// misses: it is asked.
func TestFilterAsksServersThatLeave(t *testing.T) {
	self := Member{Name: "a~1", Role: RoleServer, State: StateReady, Address: "10.0.0.1:1", GossipAddress: "10.0.0.1:2"}
	other := Member{Name: "b~1", Role: RoleServer, Address: "10.0.0.2:1", GossipAddress: "10.0.0.2:2"}
	missed := Member{Name: "w~1", Role: RoleWorker, State: StateReady, Address: "10.0.0.3:1", GossipAddress: "10.0.0.3:2"}
	for _, other.State = range []State{StateDraining, StateJoining} {
		m := alone(Config{}, self)
		f := newVerdictFilter(m, &countedHeartbeats{}, poller{func(context.Context, Member, *messages.Ping) (*messages.Pong, error) {
			return &messages.Pong{Known: true, HoldMs: 1000}, nil
		}})
		m.leases.table.listens(now())
		heard := []Member{self, other}
		f.heard = func() []Member { return slices.Clone(heard) }
		view := NewView(1, []Member{self, other, missed})
		m.views.Set(view)
		for range 3 {
			if n := len(f.filter(view, f.heard())); n != 3 {
				t.Fatalf("%s: a worker goes that may have a lease of the other server", other.State)
			}
			f.round(t.Context())
		}
	}
}
