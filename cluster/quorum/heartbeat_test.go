package quorum

import (
	"slices"
	"testing"
	"time"
)

// The clock of the store is set while one server dies and another one lives:
// only what is written again is fresh (Q8).
func TestHeartbeatsWhateverTheClockOfTheStore(t *testing.T) {
	for _, step := range []time.Duration{0, -time.Hour, -2 * time.Second, 30 * time.Second} {
		var f freshness
		begin := time.Now()
		given := map[string]time.Duration{} // by the store's clock
		serials := map[string]uint64{}
		for at := time.Duration(0); at < 20*time.Second; at += HeartbeatEvery {
			clock := time.Hour + at
			if at >= 6*time.Second {
				clock += step
			}
			var beats []Heartbeat
			for _, server := range []string{"dead~1", "live~1"} {
				if server == "live~1" || at < 5*time.Second {
					given[server] = clock
					serials[server]++
				}
				beats = append(beats, Heartbeat{Server: server, Serial: serials[server], Age: max(0, clock-given[server])})
			}
			var got []string
			for _, b := range f.fresh(begin.Add(at), beats) {
				got = append(got, b.Server)
			}
			if !slices.Contains(got, "live~1") {
				t.Errorf("clock set by %v, after %v: the heartbeat of the live server is not fresh", step, at)
			}
			if slices.Contains(got, "dead~1") && at > 5*time.Second+2*freshFor {
				t.Errorf("clock set by %v: the heartbeat of a server that died %v ago is fresh", step, at-5*time.Second)
			}
		}
	}
}
