package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// The servers that were lost last are remembered, however many were lost before.
func TestLostServersAreTheLast(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var l lostServers
		server := func(i int) Member {
			name := fmt.Sprintf("s%d~1", i)
			return Member{Name: name, Role: RoleServer, GossipAddress: name}
		}
		for i := range 3 * lostMax {
			l.viewChanged(nil, []Member{server(i)})
			time.Sleep(time.Second)
		}
		lost := l.addresses()
		if len(lost) != lostMax {
			t.Errorf("%d servers are remembered, not %d", len(lost), lostMax)
		}
		for i := 2 * lostMax; i < 3*lostMax; i++ {
			if name := server(i).Name; lost[name] == "" {
				t.Errorf("%s, one of the last %d, is forgotten", name, lostMax)
			}
		}
	})
}
