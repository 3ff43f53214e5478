package lease

import (
	"testing"
	"time"
)

// While servers are upgraded one after the other, those that are not yet know no
// leases: they answer nothing, so that none is given, and hold no verdict back,
// for they have given none.
func TestServersOfBeforeLeasesHoldNothingBack(t *testing.T) {
	cfg := Config{For: 1400 * time.Millisecond, Store: true, SignGap: 800 * time.Millisecond}
	for _, older := range []bool{true, false} {
		now := time.Unix(1_700_000_000, 0)
		g := NewGranter(cfg, now)
		g.Activate(true)
		for serial := range uint64(100) {
			g.Servers(now, []string{"a~1", "b~1"})
			g.Ask(now)
			g.Signed(now, now, []Sign{{Server: "a~1", Serial: serial, Older: older}, {Server: "b~1", Serial: serial, Older: older}})
			now = now.Add(cfg.Every())
		}
		if d := g.Grant(now, "w~2", 0); d != 0 {
			t.Errorf("older %v: a lease of %v is given that the others do not respect", older, d)
		}
		if held := g.Hold(now, "w~1", nil) > 0; held == older {
			t.Errorf("older %v: a verdict is held back: %v", older, held)
		}
	}
}
