package server_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// begin starts a process of a worker id without waiting for its admission; its
// end, or its refusal, comes by the channel.
func (w *hostWorld) begin(id string, on *clustertest.Host, join *actorstest.Server, def *messages.WorkflowDefinition) (started chan *actorstest.Worker, refused chan error) {
	w.T.Helper()
	started, refused = make(chan *actorstest.Worker, 1), make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(w.T.Context(), on.Configure(cluster.Config{Role: cluster.RoleWorker, ID: id, Pool: "default",
		State: cluster.StateJoining, Logger: log, Join: []string{join.Node.Self().GossipAddress}}))
	if err != nil {
		w.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.T.Context())
	var running atomic.Pointer[actorstest.Worker]
	over := make(chan struct{})
	w.Stops = append(w.Stops, func() {
		cancel()
		node.Kill()
		if p := running.Load(); p != nil {
			p.Kill()
		}
		<-over
	})
	go func() {
		defer close(over)
		worker, err := worker.Start(ctx, worker.Config{Node: node, Logger: log, Grace: -1, Functions: w.Functions,
			Info: &messages.WorkerInfo{Slots: 4, Workflows: []*messages.WorkflowDefinition{def}}})
		if err != nil {
			refused <- err
			return
		}
		p := &actorstest.Worker{Worker: worker, Node: node, Network: on}
		running.Store(p)
		started <- p
		refused <- <-worker.Done()
	}()
	return started, refused
}

// holders are the incarnations that the servers take for the worker's.
func holders(servers []*actorstest.Server, id string) map[string]int {
	n := map[string]int{}
	for _, s := range servers {
		if st, ok := s.Roster.Worker(id); ok && st.State != run.WorkerGone {
			n[st.Incarnation]++
		} else {
			n["none"]++
		}
	}
	return n
}

// oneHolder waits until all servers take the same process for the worker's.
func (w *hostWorld) oneHolder(servers []*actorstest.Server, id string, within time.Duration) string {
	w.T.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n := holders(servers, id)
		for incarnation, all := range n {
			if incarnation != "none" && all == len(servers) {
				return incarnation
			}
		}
	}
	w.T.Fatalf("servers take %v for worker %s", holders(servers, id), id)
	return ""
}

// endedBy waits for the end of a process by a code.
func (w *hostWorld) endedBy(refused chan error, within time.Duration, code messages.Code) {
	w.T.Helper()
	select {
	case err := <-refused:
		if messages.CodeOf(err) != code {
			w.T.Errorf("it ended by %v, not by %s", err, code)
		}
	case <-time.After(within):
		w.T.Errorf("it did not end by %s in %v", code, within)
	}
}

// A worker's process is frozen; a new one with its id comes in through another
// server, while placement moves. The new one is admitted after the verdict, the
// frozen one ends when it wakes, and the HARD run goes on with the new one.
func TestAdmissionBesideAFrozenProcess(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.Workflow("build", hard, hold(until))
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
		w.Settled(servers...)
		host := w.Network.Host("w1")
		_, ended := w.begin("w1", host, servers[0], def)
		time.Sleep(time.Second)
		w.Start(servers[0], "r1", def)
		time.Sleep(time.Second)
		first := w.oneHolder(servers, "w1", time.Second)
		host.Freeze()
		owner := placementOwner(w, servers)
		var left []*actorstest.Server
		for _, s := range servers {
			if s != owner {
				left = append(left, s)
			}
		}
		w.First = left[1]
		started, _ := w.begin("w1", w.Network.Host("w1-again"), left[1], def)
		owner.Kill()
		select {
		case <-started:
		case <-time.After(15 * time.Second):
			w.T.Fatal("the new process is not admitted")
		}
		second := w.oneHolder(left, "w1", 5*time.Second)
		if second == first {
			w.T.Error("the frozen process holds the id")
		}
		host.Thaw()
		w.endedBy(ended, 10*time.Second, messages.CodeWorkerSuperseded)
		if now := w.oneHolder(left, "w1", 5*time.Second); now != second {
			w.T.Error("the process that woke took the id back")
		}
		close(until)
		w.Ends(left[0], "r1", 20*time.Second, succeeded)
	})
}

// Both sides of a partition admit a process under one id. After it has healed one
// of them is left, all servers agree which, and the HARD run goes on with it.
func TestAdmissionOnBothSidesOfAPartition(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, succeed)
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2")}
		w.Settled(servers...)
		a, b := w.Network.Host("a"), w.Network.Host("b")
		w.Network.Split(servers[1].Network, b)
		time.Sleep(5 * time.Second)
		startedA, endedA := w.begin("w1", a, servers[0], def)
		startedB, endedB := w.begin("w1", b, servers[1], def)
		both := 0
		for _, started := range []chan *actorstest.Worker{startedA, startedB} {
			select {
			case <-started:
				both++
			case <-time.After(10 * time.Second):
			}
		}
		w.Network.Heal()
		w.Settled(servers...)
		holder := w.oneHolder(servers, "w1", 20*time.Second)
		time.Sleep(5 * time.Second)
		if now := w.oneHolder(servers, "w1", time.Second); now != holder {
			w.T.Errorf("the id went from %s to %s", holder, now)
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
			w.T.Errorf("%d of two processes ended (%d were admitted)", gone, both)
		}
		w.Start(servers[0], "r1", def)
		w.Ends(servers[0], "r1", 20*time.Second, succeeded)
	})
}

// A second process is refused while the first one lives, through whatever
// server it comes in and wherever placement has moved.
func TestAdmissionRefusesASecondProcessEverywhere(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, succeed)
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
		w.Settled(servers...)
		_, ended := w.begin("w1", w.Network.Host("w1"), servers[0], def)
		time.Sleep(time.Second)
		for _, s := range servers {
			_, refused := w.begin("w1", w.Network.Host("again-"+s.Node.Self().ID), s, def)
			w.endedBy(refused, 5*time.Second, messages.CodeWorkerIDTaken)
		}
		owner := placementOwner(w, servers)
		owner.Retire(w.T.Context())
		for _, s := range servers {
			if s != owner {
				_, refused := w.begin("w1", w.Network.Host("later-"+s.Node.Self().ID), s, def)
				w.endedBy(refused, 10*time.Second, messages.CodeWorkerIDTaken)
			}
		}
		select {
		case err := <-ended:
			w.T.Errorf("the first process ended: %v", err)
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
			def := w.Workflow("build", hard, hold(until))
			servers := []*actorstest.Server{w.Server("s1"), w.Server("s2")}
			w.Settled(servers...)
			engine := servers[0].Host.Engine()
			startedFirst, endedFirst := w.begin("w1", w.Network.Host("w1"), servers[0], def)
			first := <-startedFirst
			time.Sleep(time.Second)
			w.Start(servers[0], "r1", def)
			time.Sleep(time.Second)
			if _, err := engine.DrainWorker(w.T.Context(), "w1", time.Hour); err != nil {
				w.T.Fatal(err)
			}
			time.Sleep(time.Second)
			next, refused := w.begin("w1", w.Network.Host("again"), servers[1], def)
			select {
			case <-next:
				w.T.Fatal("the next process was admitted while the former one drained")
			case err := <-refused:
				w.T.Fatalf("the next process was refused while the former one drained: %v", err)
			case <-time.After(5 * time.Second):
			}
			if undrained {
				if _, err := engine.UndrainWorker(w.T.Context(), "w1"); err != nil {
					w.T.Fatal(err)
				}
				w.endedBy(refused, 5*time.Second, messages.CodeWorkerIDTaken)
				close(until)
				w.Ends(servers[0], "r1", time.Minute, succeeded)
				return
			}
			first.Drain() // its grace is none: the step is cut short
			select {
			case <-endedFirst:
			case <-time.After(time.Minute):
				w.T.Fatal("the process that drains did not end")
			}
			first.Node.Kill()
			select {
			case p := <-next:
				if at := w.oneHolder(servers, "w1", 10*time.Second); at != p.Ref().Incarnation {
					w.T.Errorf("the servers take %s for w1, not its next process", at)
				}
			case <-time.After(10 * time.Second):
				w.T.Fatal("the next process was not admitted when the former one had ended")
			}
			close(until)
			w.Ends(servers[0], "r1", time.Minute, succeeded)
		})
	}
}

func placementOwner(w *hostWorld, servers []*actorstest.Server) *actorstest.Server {
	w.T.Helper()
	for _, s := range servers {
		if own, ok := s.Node.View().OwnerOf(cluster.KindPlacement, "default"); ok && own.Name == s.Node.Self().Name {
			return s
		}
	}
	w.T.Fatal("nobody owns placement")
	return nil
}
