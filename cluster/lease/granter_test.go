package lease

import (
	"testing"
	"time"
)

// A server whose questions the others leave unanswered gives no lease, and holds
// the verdict on a silent worker back: the others may have given it one.
func TestServersThatDoNotAnswer(t *testing.T) {
	cfg := Config{For: 1400 * time.Millisecond, Store: true, HeartbeatGap: 800 * time.Millisecond}
	now := time.Unix(1_700_000_000, 0)
	g := NewGranter(cfg, now)
	g.Activate(true)
	for serial := range uint64(100) {
		g.Servers(now, []string{"a~1", "b~1"})
		g.Ask(now)
		g.HeartbeatWritten(now, now, []Heartbeat{{Server: "a~1", Serial: serial}, {Server: "b~1", Serial: serial}})
		now = now.Add(cfg.Every())
	}
	if d := g.Grant(now, "w~2", 0); d != 0 {
		t.Errorf("a lease of %v is given that the others do not respect", d)
	}
	if g.Hold(now, "w~1", nil) <= 0 {
		t.Error("the verdict is not held back")
	}
}
