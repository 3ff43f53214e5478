package actors

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// begin starts a process of a worker id without waiting for its admission; its
// end, or its refusal, comes by the channel.
func (w *hostWorld) begin(id string, on *clustertest.Host, join *testServer, def *messages.WorkflowDefinition) (started chan *hostWorker, refused chan error) {
	w.t.Helper()
	started, refused = make(chan *hostWorker, 1), make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(w.t.Context(), on.Configure(cluster.Config{Role: cluster.RoleWorker, ID: id, Pool: "default",
		State: cluster.StateJoining, Logger: log, Join: []string{join.node.Self().GossipAddress}}))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running atomic.Pointer[hostWorker]
	over := make(chan struct{})
	w.stops = append(w.stops, func() {
		cancel()
		node.Kill()
		if p := running.Load(); p != nil {
			p.kill()
		}
		<-over
	})
	go func() {
		defer close(over)
		worker, err := StartWorker(ctx, WorkerConfig{Node: node, Logger: log, Grace: -1, Functions: w.functions,
			Info: &messages.WorkerInfo{Slots: 4, Workflows: []*messages.WorkflowDefinition{def}}})
		if err != nil {
			refused <- err
			return
		}
		p := &hostWorker{worker, node, on}
		running.Store(p)
		started <- p
		refused <- <-worker.Done()
	}()
	return started, refused
}

// holders are the incarnations that the servers take for the worker's.
func holders(servers []*testServer, id string) map[string]int {
	n := map[string]int{}
	for _, s := range servers {
		if st, ok := s.roster.Worker(id); ok && st.State != run.WorkerGone {
			n[st.Incarnation]++
		} else {
			n["none"]++
		}
	}
	return n
}

// oneHolder waits until all servers take the same process for the worker's.
func (w *hostWorld) oneHolder(servers []*testServer, id string, within time.Duration) string {
	w.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n := holders(servers, id)
		for incarnation, all := range n {
			if incarnation != "none" && all == len(servers) {
				return incarnation
			}
		}
	}
	w.t.Fatalf("servers take %v for worker %s", holders(servers, id), id)
	return ""
}

// endedBy waits for the end of a process by a code.
func (w *hostWorld) endedBy(refused chan error, within time.Duration, code messages.Code) {
	w.t.Helper()
	select {
	case err := <-refused:
		if messages.CodeOf(err) != code {
			w.t.Errorf("it ended by %v, not by %s", err, code)
		}
	case <-time.After(within):
		w.t.Errorf("it did not end by %s in %v", code, within)
	}
}

// A worker's process is frozen; a new one with its id comes in through another
// server, while placement moves. The new one is admitted after the verdict, the
// frozen one ends when it wakes, and the HARD run goes on with the new one.
func TestAdmissionBesideAFrozenProcess(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.workflow("build", hard, hold(until))
		servers := []*testServer{w.server("s1"), w.server("s2"), w.server("s3")}
		w.settled(servers...)
		host := w.network.Host("w1")
		_, ended := w.begin("w1", host, servers[0], def)
		time.Sleep(time.Second)
		w.start(servers[0], "r1", def)
		time.Sleep(time.Second)
		first := w.oneHolder(servers, "w1", time.Second)
		host.Freeze()
		owner := placementOwner(w, servers)
		var left []*testServer
		for _, s := range servers {
			if s != owner {
				left = append(left, s)
			}
		}
		w.first = left[1]
		started, _ := w.begin("w1", w.network.Host("w1-again"), left[1], def)
		owner.kill()
		select {
		case <-started:
		case <-time.After(15 * time.Second):
			w.t.Fatal("the new process is not admitted")
		}
		second := w.oneHolder(left, "w1", 5*time.Second)
		if second == first {
			w.t.Error("the frozen process holds the id")
		}
		host.Thaw()
		w.endedBy(ended, 10*time.Second, messages.CodeWorkerSuperseded)
		if now := w.oneHolder(left, "w1", 5*time.Second); now != second {
			w.t.Error("the process that woke took the id back")
		}
		close(until)
		w.ends(left[0], "r1", 20*time.Second, succeeded)
	})
}

// Both sides of a partition admit a process under one id. After it has healed one
// of them is left, all servers agree which, and the HARD run goes on with it.
func TestAdmissionOnBothSidesOfAPartition(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, succeed)
		servers := []*testServer{w.server("s1"), w.server("s2")}
		w.settled(servers...)
		a, b := w.network.Host("a"), w.network.Host("b")
		w.network.Split(servers[1].network, b)
		time.Sleep(5 * time.Second)
		startedA, endedA := w.begin("w1", a, servers[0], def)
		startedB, endedB := w.begin("w1", b, servers[1], def)
		both := 0
		for _, started := range []chan *hostWorker{startedA, startedB} {
			select {
			case <-started:
				both++
			case <-time.After(10 * time.Second):
			}
		}
		w.network.Heal()
		w.settled(servers...)
		holder := w.oneHolder(servers, "w1", 20*time.Second)
		time.Sleep(5 * time.Second)
		if now := w.oneHolder(servers, "w1", time.Second); now != holder {
			w.t.Errorf("the id went from %s to %s", holder, now)
		}
		gone := 0
		for _, ended := range []chan error{endedA, endedB} {
			select {
			case <-ended:
				gone++
			default:
			}
		}
		if gone != 1 {
			w.t.Errorf("%d of two processes ended (%d were admitted)", gone, both)
		}
		w.start(servers[0], "r1", def)
		w.ends(servers[0], "r1", 20*time.Second, succeeded)
	})
}

// A second process is refused while the first one lives, through whatever
// server it comes in and wherever placement has moved.
func TestAdmissionRefusesASecondProcessEverywhere(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, succeed)
		servers := []*testServer{w.server("s1"), w.server("s2"), w.server("s3")}
		w.settled(servers...)
		_, ended := w.begin("w1", w.network.Host("w1"), servers[0], def)
		time.Sleep(time.Second)
		for _, s := range servers {
			_, refused := w.begin("w1", w.network.Host("again-"+s.node.Self().ID), s, def)
			w.endedBy(refused, 5*time.Second, messages.CodeWorkerIDTaken)
		}
		owner := placementOwner(w, servers)
		owner.retire(w.t.Context())
		for _, s := range servers {
			if s != owner {
				_, refused := w.begin("w1", w.network.Host("later-"+s.node.Self().ID), s, def)
				w.endedBy(refused, 10*time.Second, messages.CodeWorkerIDTaken)
			}
		}
		select {
		case err := <-ended:
			w.t.Errorf("the first process ended: %v", err)
		default:
		}
	})
}

// The next process of a worker's id comes while the former one drains: it waits,
// and says for whom. When the former one takes new runs again, the next one is
// refused; when it ends, the next one is admitted, and the HARD run that was
// bound to the id goes on there. Never are both admitted.
func TestSuccessorWaitsForAProcessThatDrains(t *testing.T) {
	for _, undrained := range []bool{false, true} {
		hostBubble(t, func(w *hostWorld) {
			until := make(chan struct{})
			def := w.workflow("build", hard, hold(until))
			servers := []*testServer{w.server("s1"), w.server("s2")}
			w.settled(servers...)
			engine := servers[0].host.Engine()
			startedFirst, endedFirst := w.begin("w1", w.network.Host("w1"), servers[0], def)
			first := <-startedFirst
			time.Sleep(time.Second)
			w.start(servers[0], "r1", def)
			time.Sleep(time.Second)
			if _, err := engine.DrainWorker(w.t.Context(), "w1", time.Hour); err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Second)
			next, refused := w.begin("w1", w.network.Host("again"), servers[1], def)
			select {
			case <-next:
				w.t.Fatal("the next process was admitted while the former one drained")
			case err := <-refused:
				w.t.Fatalf("the next process was refused while the former one drained: %v", err)
			case <-time.After(5 * time.Second):
			}
			if undrained {
				if _, err := engine.UndrainWorker(w.t.Context(), "w1"); err != nil {
					w.t.Fatal(err)
				}
				w.endedBy(refused, 5*time.Second, messages.CodeWorkerIDTaken)
				close(until)
				w.ends(servers[0], "r1", time.Minute, succeeded)
				return
			}
			first.Drain() // its grace is none: the step is cut short
			select {
			case <-endedFirst:
			case <-time.After(time.Minute):
				w.t.Fatal("the process that drains did not end")
			}
			first.node.Kill()
			select {
			case p := <-next:
				if at := w.oneHolder(servers, "w1", 10*time.Second); at != p.info.Incarnation {
					w.t.Errorf("the servers take %s for w1, not its next process", at)
				}
			case <-time.After(10 * time.Second):
				w.t.Fatal("the next process was not admitted when the former one had ended")
			}
			close(until)
			w.ends(servers[0], "r1", time.Minute, succeeded)
		})
	}
}

func placementOwner(w *hostWorld, servers []*testServer) *testServer {
	w.t.Helper()
	for _, s := range servers {
		if own, ok := s.node.View().OwnerOf(cluster.KindPlacement, "default"); ok && own.Name == s.node.Self().Name {
			return s
		}
	}
	w.t.Fatal("nobody owns placement")
	return nil
}
