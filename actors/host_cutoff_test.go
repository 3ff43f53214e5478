package actors

import (
	"fmt"
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
	for _, split := range []time.Duration{6 * time.Second, 14 * time.Second, 20 * time.Second, 25 * time.Second, 5 * time.Minute,
		5*time.Minute + 300*time.Millisecond, 5*time.Minute + 900*time.Millisecond} {
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

// The sign of life of the process before it, which had workers, does not keep a
// server that was started anew from its runs.
func TestHostOfARestartedServerIsNotItsOwnRival(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, hold(nil))
		s := w.server("s1")
		w.settled(s)
		for i := range 3 {
			w.worker(fmt.Sprintf("w%d", i), def)
		}
		ids := w.bulk(s, def, 12)
		time.Sleep(2 * time.Second)
		s.kill()
		w.first = nil
		time.Sleep(100 * time.Millisecond)
		again := w.startServer("s1", s.network.Again(), HostConfig{})
		took := w.within(500*time.Millisecond, "the runs are back", func() bool { return again.awake(ids) == len(ids) })
		for ; took < 2*time.Second; took += 10 * time.Millisecond {
			if again.node.CutOff() {
				w.t.Fatalf("the server is cut off by its own past after %v", took)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// A server that is started anew and told to join nobody, like the first one of a
// cluster, finds the others by their signs of life before it owns anything.
func TestHostOfAServerThatJoinsNobodyFindsTheOthers(t *testing.T) {
	for _, away := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 5 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.workflow("build", soft, hold(nil))
				servers := []*testServer{w.server("s1"), w.server("s2"), w.server("s3")}
				w.settled(servers...)
				w.worker("w1", def)
				ids := w.bulk(servers[0], def, 90)
				time.Sleep(time.Second)
				servers[0].kill()
				time.Sleep(away)
				w.first = nil
				servers[0] = w.startServer("s1", servers[0].network.Again(), HostConfig{})
				w.within(1500*time.Millisecond, "all see each other", func() bool {
					if n := servers[0].awake(ids); n == len(ids) {
						w.t.Fatal("the server took up the runs of all others")
					}
					return whole(servers)
				})
			})
		})
	}
}

// The only server that one is told to join is gone for good: another one, whose
// signs of life it reads, lets it in.
func TestHostOfAServerWhoseSeedIsGoneJoinsTheOthers(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s1, s2, s3 := w.server("s1"), w.server("s2"), w.server("s3")
		w.settled(s1, s2, s3)
		s1.kill()
		s2.kill()
		time.Sleep(5 * time.Second)
		begin := time.Now()
		s2 = w.startServer("s2", s2.network.Again(), HostConfig{})
		w.within(time.Second, "both see each other", func() bool { return whole([]*testServer{s2, s3}) })
		if took := time.Since(begin); took > 3*time.Second {
			w.t.Errorf("the server was let in after %v", took)
		}
	})
}
