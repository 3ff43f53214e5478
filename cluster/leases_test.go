package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// However often the view is made while a silent worker is held back, it is made
// anew once when the worker may leave.
func TestOneWakeForAllThatIsHeldBack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		self := Member{Name: "a~1", Role: RoleServer, State: StateReady}
		m := alone(Config{Role: RoleServer, Preset: LocalConfig(), Heartbeats: &countedHeartbeats{}}, self)
		m.leases.listens()
		old := NewView(1, []Member{self, {Name: "w~1", Role: RoleWorker, State: StateDraining}})
		wakes := 0
		wait := m.leases.table.cfg.For
		time.Sleep(wait)
		for range 20 {
			m.leases.filter(old, []Member{self})
			time.Sleep(m.leases.table.cfg.Every() / 4 / 20)
		}
		for end := time.Now().Add(2 * wait); time.Now().Before(end); {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			select {
			case <-m.gossip.Changed():
				wakes++
				m.leases.filter(old, []Member{self})
			default:
			}
		}
		// It is not active, so that the worker stays.
		if most := int(2*wait/(m.leases.table.cfg.Every()/4)) + 1; wakes == 0 || wakes > most {
			t.Fatalf("the view was made %d times in %v, at most %d is enough", wakes, 2*wait, most)
		}
	})
}

// Gossip may miss a server. A member says in what state it is when it asks for a
// lease, and if the view says otherwise for long, the server asks it for all.
func TestStateThatGossipHasNotToldIsAskedFor(t *testing.T) {
	m := alone(Config{Role: RoleServer, Preset: LocalConfig()}, Member{Name: "a~1", Role: RoleServer, State: StateReady})
	var visited []string
	m.leases.visit = func(address string) { visited = append(visited, address) }
	m.leases.listens()
	m.views.Set(NewView(1, []Member{{Name: "w~1", Role: RoleWorker, State: StateJoining, GossipAddress: "there"}}))
	for i, c := range []struct {
		name, state string
		asked       bool
	}{
		{"w~1", "joining", false},
		{"w~1", "ready", false}, // The news may be on its way.
		{"w~1", "draining", false},
		{"w~1", "draining", true},
		{"w~1", "draining", false},
		{"w~1", "joining", false},
		{"w~1", "draining", false},
		{"w~1", "", false}, // a process of an earlier version
		{"nobody~1", "ready", false},
		{"nobody~1", "ready", false},
	} {
		m.leases.asked(&messages.LeaseAsk{Name: c.name, To: "a~1", Worker: true, State: c.state})
		if asked := len(visited) > 0; asked != c.asked {
			t.Errorf("question %d: asked for its state: %v", i, asked)
		} else if asked && visited[0] != "there" {
			t.Errorf("question %d: asked somebody else", i)
		}
		visited = nil
	}
}
