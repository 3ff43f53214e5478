package cluster

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// However often the view is made while a silent worker is held back, it is made
// anew once when the worker may leave.
func TestOneWakeForAllThatIsHeldBack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := newMembership(Config{Role: RoleServer, Preset: LocalConfig(), Signs: &countedSigns{}, Logger: slog.New(slog.DiscardHandler)}, &drowsiness{}, nil, nil)
		m.self.Store(&Member{Name: "a~1", Role: RoleServer, State: StateReady})
		m.leases.listens()
		old := NewView(1, []Member{m.Self(), {Name: "w~1", Role: RoleWorker, State: StateDraining}})
		wakes := 0
		wait := m.leases.cfg.For
		time.Sleep(wait)
		for range 20 {
			m.leases.filter(old, []Member{m.Self()})
			time.Sleep(m.leases.cfg.Every() / 4 / 20)
		}
		for end := time.Now().Add(2 * wait); time.Now().Before(end); {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			select {
			case <-m.events.signal:
				wakes++
				m.leases.filter(old, []Member{m.Self()})
			default:
			}
		}
		// It is not active, so that the worker stays.
		if most := int(2*wait/(m.leases.cfg.Every()/4)) + 1; wakes == 0 || wakes > most {
			t.Fatalf("the view was made %d times in %v, at most %d is enough", wakes, 2*wait, most)
		}
	})
}
