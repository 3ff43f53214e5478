package remote

import (
	"testing"
	"time"
)

// However long the patience is, a connection may take as long to be made as it takes to
// find out that there is a cut and to go by a server.
func TestConnectTicks(t *testing.T) {
	for patience, want := range map[time.Duration]time.Duration{
		300 * time.Millisecond: connectTime,
		time.Second:            3 * time.Second,
		4 * time.Second:        12 * time.Second,
	} {
		r := &Remote{patience: patience}
		if took := time.Duration(r.connectTicks()) * patience / patienceTicks; took != want {
			t.Errorf("with a patience of %v a connection may take %v, want %v", patience, took, want)
		}
	}
}
