package cluster

import (
	"testing"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// A node that joins while it stops does not wait for a view that nobody makes.
func TestFlushEndsWithTheNode(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := alone(Config{}, Member{Name: "a~1", Role: RoleServer})
		m.running.Go(m.loop)
		m.flush()
		close(m.stopped)
		m.running.Wait()
		m.flush()
	})
}
