package lease

import (
	"slices"
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

// A server that has a fresh heartbeat and does not answer keeps this one from giving
// leases, also when the store's clock is set; one that has ceased to write does not,
// however young its heartbeat is by a clock that was set back.
func TestHeartbeatsAgeByTheOwnClock(t *testing.T) {
	cfg := Config{For: 1400 * time.Millisecond, Store: true, HeartbeatGap: 800 * time.Millisecond}
	for _, c := range []struct {
		name   string
		writes bool
		// age as the store has it; negative for no heartbeat.
		age    time.Duration
		grants bool
	}{
		{"set ahead", true, time.Hour, false},
		{"set ahead, and thrown away", true, -1, false},
		{"set back", false, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			g := NewGranter(cfg, now)
			g.Activate(true)
			var serial uint64
			for i := range 100 {
				if c.writes || i == 0 {
					serial++
				}
				now = now.Add(cfg.Every())
				g.Servers(now, []string{"a~1", "b~1"})
				g.Ask(now)
				beats := []Heartbeat{{Server: "a~1", Serial: serial}}
				switch {
				case i == 0 || !c.writes:
				case i%2 == 1 && c.age < 0:
					beats = nil
				case i%2 == 1:
					// Read again before it has written the next one.
					serial--
					beats[0].Serial, beats[0].Age = serial, c.age
				}
				g.HeartbeatWritten(now, now, beats)
			}
			if d := g.Grant(now, "w~1", 0); d > 0 != c.grants {
				t.Errorf("a lease of %v is given", d)
			}
		})
	}
}

// A lease that has ended is heard of once, also if the time without one was not.
func TestLapses(t *testing.T) {
	at := time.Unix(0, 0)
	g := NewGranter(Config{For: time.Second}, at.Add(-time.Hour))
	if g.Lapsed("w", 1) {
		t.Error("a server that begins knows of no lease before")
	}
	lapsed, regained := []uint64{}, []uint64{}
	for _, term := range []uint64{0, 0, 1, 1, 2, 4, 4, 3, 5, 6} {
		if g.Lapsed("w", term) {
			lapsed = append(lapsed, term)
		}
		if g.Regained("w", term) {
			regained = append(regained, term)
		}
		g.Grant(at, "w", term)
	}
	if want := []uint64{1, 4, 5}; !slices.Equal(lapsed, want) {
		t.Errorf("heard of at terms %v, expected %v", lapsed, want)
	}
	if want := []uint64{2, 4, 6}; !slices.Equal(regained, want) {
		t.Errorf("heard of leases again at terms %v, expected %v", regained, want)
	}
}
