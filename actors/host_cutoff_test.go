package actors

import (
	"testing"
	"time"
)

// within waits until a condition holds, and returns how long that took.
func (w *hostWorld) within(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			w.t.Errorf("%s: not within %v", what, limit)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begin)
}

// whole says whether all servers see each other and none is cut off.
func whole(servers []*testServer) bool {
	for _, s := range servers {
		if len(s.node.View().Servers()) != len(servers) || s.node.CutOff() {
			return false
		}
	}
	return true
}

// A server that was cut off looks for the others all the time, also when they
// have forgotten each other: nobody waits for the next round of the seeds.
func TestHostOfACutOffServerIsBackSoon(t *testing.T) {
	for _, split := range []time.Duration{6 * time.Second, 14 * time.Second, 20 * time.Second, 25 * time.Second, 5 * time.Minute} {
		t.Run(split.String(), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				servers := []*testServer{w.server("s1"), w.server("s2"), w.server("s3")}
				w.settled(servers...)
				w.network.Split(servers[2].network)
				time.Sleep(split)
				if !servers[2].node.CutOff() {
					w.t.Fatal("the server is not cut off")
				}
				w.network.Heal()
				w.within(1500*time.Millisecond, "all see each other", func() bool { return whole(servers) })
			})
		})
	}
}
