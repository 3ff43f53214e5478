package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// whole says whether all servers see each other and none is cut off.
func whole(servers []*actorstest.Server) bool {
	for _, s := range servers {
		if len(s.Node.View().Servers()) != len(servers) || s.Node.CutOff() {
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
				servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
				w.Settled(servers...)
				w.Network.Split(servers[2].Network)
				time.Sleep(split)
				if !servers[2].Node.CutOff() {
					w.T.Fatal("the server is not cut off")
				}
				w.Network.Heal()
				w.Within(1500*time.Millisecond, "all see each other", func() bool { return whole(servers) })
			})
		})
	}
}

// The heartbeat of the process before it, which had workers, does not keep a
// server that was started anew from its runs.
func TestHostOfARestartedServerIsNotItsOwnRival(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, hold(nil))
		s := w.Server("s1")
		w.Settled(s)
		for i := range 3 {
			w.Worker(fmt.Sprintf("w%d", i), def)
		}
		ids := w.Bulk(s, def, 12)
		time.Sleep(2 * time.Second)
		s.Kill()
		w.First = nil
		time.Sleep(100 * time.Millisecond)
		again := w.StartServer("s1", s.Network.Again(), server.HostConfig{})
		took := w.Within(500*time.Millisecond, "the runs are back", func() bool { return again.Host.Awake(ids) == len(ids) })
		for ; took < 2*time.Second; took += 10 * time.Millisecond {
			if again.Node.CutOff() {
				w.T.Fatalf("the server is cut off by its own past after %v", took)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// A server that is started anew and told to join nobody, like the first one of a
// cluster, finds the others by their heartbeats before it owns anything.
func TestHostOfAServerThatJoinsNobodyFindsTheOthers(t *testing.T) {
	for _, away := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 5 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.Workflow("build", soft, hold(nil))
				servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
				w.Settled(servers...)
				w.Worker("w1", def)
				ids := w.Bulk(servers[0], def, 90)
				time.Sleep(time.Second)
				servers[0].Kill()
				time.Sleep(away)
				w.First = nil
				servers[0] = w.StartServer("s1", servers[0].Network.Again(), server.HostConfig{})
				w.Within(1500*time.Millisecond, "all see each other", func() bool {
					if n := servers[0].Host.Awake(ids); n == len(ids) {
						w.T.Fatal("the server took up the runs of all others")
					}
					return whole(servers)
				})
			})
		})
	}
}

// The only server that one is told to join is gone for good: another one, whose
// heartbeats it reads, lets it in.
func TestHostOfAServerWhoseSeedIsGoneJoinsTheOthers(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s1, s2, s3 := w.Server("s1"), w.Server("s2"), w.Server("s3")
		w.Settled(s1, s2, s3)
		s1.Kill()
		s2.Kill()
		time.Sleep(5 * time.Second)
		begin := time.Now()
		s2 = w.StartServer("s2", s2.Network.Again(), server.HostConfig{})
		w.Within(time.Second, "both see each other", func() bool { return whole([]*actorstest.Server{s2, s3}) })
		if took := time.Since(begin); took > 3*time.Second {
			w.T.Errorf("the server was let in after %v", took)
		}
	})
}

// A server that lacks the store, which others have, gives its runs up, takes none
// until it has the store back, and sends who asks it to the others.
func TestHostWithoutTheStoreGivesItsRunsUp(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		held := make(chan struct{})
		def := w.Workflow("build", soft, hold(held))
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
		w.Settled(servers...)
		w.Worker("w1", def)
		ids := w.Bulk(servers[0], def, 60)
		time.Sleep(time.Second)
		cut := servers[2]
		owned := cut.Host.Awake(ids)
		if owned == 0 {
			w.T.Fatal("the server owns no run")
		}
		cut.CutStore(true)
		asked := w.Later(50*time.Millisecond, func() {
			began := time.Now()
			_, err := cut.Host.Engine().StartRuns(w.T.Context(), startsOf(def, "here", 60))
			if took := time.Since(began); messages.CodeOf(err) != messages.CodeUnavailable || took > 2500*time.Millisecond {
				w.T.Errorf("the server that is cut off says %v after %v", err, took)
			}
		})
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		replies, err := servers[0].Host.Engine().StartRuns(w.T.Context(), startsOf(def, "there", 60))
		if took := time.Since(began); err != nil || took > 3*time.Second {
			w.T.Errorf("starts at another server: %v after %v", err, took)
		}
		for _, r := range replies {
			if r.Error != nil {
				w.T.Errorf("a start was refused: %v", r.Error)
			}
		}
		asked()
		time.Sleep(10 * time.Second)
		if n := len(servers[0].Node.View().Servers()); n != 2 || !cut.Node.CutOff() || cut.Host.Awake(ids) != 0 {
			w.T.Errorf("%d servers own runs, cut off: %v, it has %d runs", n, cut.Node.CutOff(), cut.Host.Awake(ids))
		}
		cut.CutStore(false)
		w.Within(3*time.Second, "the server is back with its runs", func() bool { return whole(servers) && cut.Host.Awake(ids) == owned })
		close(held)
		for _, id := range ids {
			w.Ends(servers[0], id, 30*time.Second, succeeded)
		}
		w.NotRepeated(ids)
	})
}

// No server reaches the store: one at least waits for it with what it owns, and
// all are back soon after the store is.
func TestHostsWithoutAnyStoreWaitForIt(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		held := make(chan struct{})
		def := w.Workflow("build", soft, hold(held))
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
		w.Settled(servers...)
		w.Worker("w1", def)
		ids := w.Bulk(servers[0], def, 60)
		time.Sleep(time.Second)
		for range 3 {
			for i, s := range servers {
				time.Sleep(time.Duration(i) * 700 * time.Millisecond)
				s.CutStore(true)
			}
			for range 100 {
				time.Sleep(150 * time.Millisecond)
				if len(servers[0].Node.View().Servers()) == 0 {
					w.T.Fatal("no server owns anything")
				}
			}
			for _, s := range servers {
				s.CutStore(false)
			}
			w.Within(3*time.Second, "all own again", func() bool { return whole(servers) })
		}
		close(held)
		for _, id := range ids {
			w.Ends(servers[0], id, 30*time.Second, succeeded)
		}
		w.NotRepeated(ids)
	})
}

func startsOf(def *messages.WorkflowDefinition, prefix string, n int) []*messages.StartRun {
	runs := make([]*messages.StartRun, n)
	for i := range runs {
		runs[i] = actorstest.StartOf(fmt.Sprintf("%s-%d", prefix, i), def)
	}
	return runs
}
