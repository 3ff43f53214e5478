package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
)

// What the comments at the presets promise: when a dead member is declared
// gone.
func TestPresets(t *testing.T) {
	for _, p := range []struct {
		name   string
		preset cluster.Preset
		gone   time.Duration
	}{
		{"local", cluster.LocalConfig(), 2500 * time.Millisecond},
		{"lan", cluster.LANConfig(), 10 * time.Second},
		{"wan", cluster.WANConfig(), 45 * time.Second},
	} {
		for _, size := range []int{2, 5} {
			t.Run(fmt.Sprint(p.name, "/", size), func(t *testing.T) {
				onFakeTime(t, func(t *testing.T, w *world) {
					a, _ := w.preset("a", p.preset)
					ids := []string{"a"}
					var last *clustertest.Host
					for i := 1; i < size; i++ {
						id := string(rune('a' + i))
						ids = append(ids, id)
						_, last = w.preset(id, p.preset, a.Self().GossipAddress)
					}
					w.sees(a, time.Minute, ids...)
					time.Sleep(10 * p.preset.ProbeInterval)
					start := time.Now()
					last.Crash()
					w.sees(a, 5*time.Minute, ids[:size-1]...)
					took := time.Since(start)
					t.Logf("gone after %v", took)
					if took > p.gone {
						t.Errorf("gone after %v, later than %v", took, p.gone)
					}
				})
			})
		}
	}
}

func (w *world) preset(id string, p cluster.Preset, join ...string) (*cluster.Node, *clustertest.Host) {
	h := w.network.Host(id)
	return w.start(h, cluster.Config{Role: cluster.RoleServer, ID: id, Join: join, Preset: p}), h
}
