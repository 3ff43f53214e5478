package worker_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

// executions are what functions did that honour their contexts.
type executions struct {
	mu   sync.Mutex
	list []*execution
}

type execution struct {
	run, worker string
	from, to    time.Time
	cause       error
}

// function acts for its run until its context ends, or for good when until is
// closed.
func (e *executions) function(until <-chan struct{}) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		x := &execution{run: a.Dispatch.RunId, worker: a.Worker.WorkerId, from: time.Now()}
		e.mu.Lock()
		e.list = append(e.list, x)
		e.mu.Unlock()
		select {
		case <-until:
		case <-ctx.Done():
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		x.to, x.cause = time.Now(), context.Cause(ctx)
		if x.cause != nil {
			return nil, x.cause
		}
		return []byte("1"), nil
	}
}

// of are the executions of a run, in order.
func (e *executions) of(run string) []execution {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []execution
	for _, x := range e.list {
		if x.run == run {
			out = append(out, *x)
		}
	}
	return out
}

// A worker that nobody reaches any more, either way or one way, stops acting
// before its runs go on elsewhere, which they do soon.
func TestWorkerThatIsCutOffStopsBeforeItsRunsMove(t *testing.T) {
	type host = clustertest.Host
	cuts := map[string]func(n *clustertest.Network, worker *host, others []*host){
		"both ways": func(n *clustertest.Network, worker *host, _ []*host) { n.Split(worker) },
		"it hears nothing": func(n *clustertest.Network, worker *host, others []*host) {
			for _, other := range others {
				n.SplitOneWay(other, worker)
			}
		},
		"it is not heard": func(n *clustertest.Network, worker *host, others []*host) {
			for _, other := range others {
				n.SplitOneWay(worker, other)
			}
		},
		"frozen": func(_ *clustertest.Network, worker *host, _ []*host) { worker.Freeze() },
	}
	for name, cut := range cuts {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d servers", name, n), func(t *testing.T) {
				actorstest.Bubble(t, func(w *actorstest.World) { workerStopsFirst(w, n, cut) })
			})
		}
	}
}

func workerStopsFirst(w *actorstest.World, n int, cut func(*clustertest.Network, *clustertest.Host, []*clustertest.Host)) {
	var servers []*actorstest.Server
	for i := range n {
		servers = append(servers, w.Server(fmt.Sprintf("s%d", i)))
	}
	w.Settled(servers...)
	var acts executions
	until := make(chan struct{})
	def := w.Workflow("build", messages.Sticky_STICKY_SOFT, acts.function(until))
	workers := map[string]*actorstest.Worker{"w0": w.Worker("w0", def), "w1": w.Worker("w1", def)}
	w.Start(servers[0], "r1", def)
	time.Sleep(3 * time.Second)
	first := acts.of("r1")
	if len(first) != 1 {
		w.T.Fatalf("%d executions before the cut: %s", len(first), w.History("r1"))
	}
	worker := workers[first[0].worker]
	began := time.Now()
	others := []*clustertest.Host{}
	for _, s := range servers {
		others = append(others, s.Network)
	}
	for id, other := range workers {
		if id != first[0].worker {
			others = append(others, other.Network)
		}
	}
	cut(&w.Network, worker.Network, others)
	w.Within(5*time.Second, "the run goes on elsewhere", func() bool { return len(acts.of("r1")) == 2 })
	both := acts.of("r1")
	if len(both) != 2 {
		w.T.Fatal(w.History("r1"))
	}
	w.T.Logf("canceled after %v, again after %v", both[0].to.Sub(began), both[1].from.Sub(began))
	switch {
	case both[0].to.IsZero() || both[0].to.After(both[1].from):
		w.T.Errorf("%s acts until %v, %s from %v", both[0].worker, both[0].to.Sub(began), both[1].worker, both[1].from.Sub(began))
	case messages.CodeOf(both[0].cause) != messages.CodeLeaseExpired:
		w.T.Errorf("canceled by %v", both[0].cause)
	case both[0].worker == both[1].worker:
		w.T.Errorf("both on %s", both[0].worker)
	}
	worker.Network.Thaw()
	w.Network.Heal()
	time.Sleep(3 * time.Second)
	close(until)
	w.Ends(servers[0], "r1", 30*time.Second, messages.RunStatus_RUN_STATUS_SUCCEEDED)
	if got := acts.of("r1"); len(got) != 2 {
		w.T.Errorf("%d executions: %s", len(got), w.History("r1"))
	}
	// The worker is of use again.
	w.Start(servers[0], "r2", def)
	w.Ends(servers[0], "r2", 30*time.Second, messages.RunStatus_RUN_STATUS_SUCCEEDED)
}

// A cut that is over before anybody is called lost costs what ran, no more: it
// runs again where the run is bound, charged to no retries.
func TestWorkerWhoseLeaseExpiredGoesOnWithItsRuns(t *testing.T) {
	for _, sticky := range []messages.Sticky{messages.Sticky_STICKY_SOFT, messages.Sticky_STICKY_HARD} {
		t.Run(sticky.String(), func(t *testing.T) {
			actorstest.Bubble(t, func(w *actorstest.World) {
				s := w.Server("s1")
				w.Settled(s)
				var acts executions
				until := make(chan struct{})
				def := w.Workflow("build", sticky, acts.function(until))
				worker := w.Worker("w0", def)
				var lapses []cluster.Lapse
				s.Node.OnLapse(func(l cluster.Lapse) { lapses = append(lapses, l) })
				w.Start(s, "r1", def)
				time.Sleep(3 * time.Second)
				// What it asks is not answered, but it is heard.
				w.Network.SplitOneWay(s.Network, worker.Network)
				w.Within(3*time.Second, "the lease expires", func() bool { return !acts.of("r1")[0].to.IsZero() })
				w.Network.Heal()
				time.Sleep(5 * time.Second)
				close(until)
				w.Ends(s, "r1", 30*time.Second, messages.RunStatus_RUN_STATUS_SUCCEEDED)
				// An attempt more is lost if the next one is made before the run may use the
				// new lease; that one is not executed.
				if n := w.Events("r1"); n["*messages.Event_AttemptFailed"] != 0 || n["*messages.Event_AttemptLost"] == 0 || n["*messages.Event_Bound"] != 1 || len(acts.of("r1")) != 2 {
					w.T.Errorf("%v: %s", n, w.History("r1"))
				}
				if want := (cluster.Lapse{WorkerID: "w0", Incarnation: worker.Ref().Incarnation}); len(lapses) != 1 || lapses[0] != want {
					w.T.Errorf("the server heard of %v", lapses)
				}
				if history := w.History("r1"); !strings.Contains(history, messages.Reason_REASON_LEASE_EXPIRED.String()) && !strings.Contains(history, messages.Reason_REASON_WORKER_LOST.String()) {
					w.T.Error(history)
				}
			})
		})
	}
}

// What a function returns after the lease has ended is not its result, if it looked
// at its context or not.
func TestWhatIsReturnedAfterTheLeaseIsMadeAgain(t *testing.T) {
	actorstest.Bubble(t, func(w *actorstest.World) {
		s := w.Server("s1")
		w.Settled(s)
		var calls atomic.Int32
		def := w.Workflow("build", messages.Sticky_STICKY_HARD, func(context.Context, *attempt.Attempt) ([]byte, error) {
			n := calls.Add(1)
			time.Sleep(7 * time.Second) // The lease of the first has ended, and no grace after it has.
			return []byte(strconv.Itoa(int(n))), nil
		})
		worker := w.Worker("w0", def)
		w.Start(s, "r1", def)
		time.Sleep(3 * time.Second)
		w.Network.SplitOneWay(s.Network, worker.Network)
		time.Sleep(6 * time.Second)
		w.Network.Heal()
		w.Ends(s, "r1", 3*time.Minute, messages.RunStatus_RUN_STATUS_SUCCEEDED)
		if n := calls.Load(); n < 2 || !strings.Contains(strings.ReplaceAll(w.History("r1"), " ", ""), fmt.Sprintf("%q:%q", "output", base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(int(n)))))) {
			t.Errorf("after %d calls: %s", n, w.History("r1"))
		}
	})
}

// What servers do costs no step: a worker's lease outlives their deaths.
func TestServersThatDieCostNoLease(t *testing.T) {
	faults := map[string]struct {
		servers int
		do      func(w *actorstest.World, servers []*actorstest.Server) *actorstest.Server
	}{
		"one of three is killed": {3, func(_ *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
			servers[1].Kill()
			time.Sleep(15 * time.Second)
			return servers[0]
		}},
		"two of three are killed": {3, func(_ *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
			servers[1].Kill()
			servers[2].Kill()
			time.Sleep(15 * time.Second)
			return servers[0]
		}},
		"one of two is killed": {2, func(_ *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
			servers[1].Kill()
			time.Sleep(15 * time.Second)
			return servers[0]
		}},
		"one of three freezes": {3, func(_ *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
			servers[1].Network.Freeze()
			time.Sleep(4 * time.Second)
			servers[1].Network.Thaw()
			time.Sleep(10 * time.Second)
			return servers[0]
		}},
		"one of three leaves": {3, func(w *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
			servers[1].Host.Leave(w.T.Context())
			servers[1].Stop()
			time.Sleep(10 * time.Second)
			return servers[0]
		}},
		"the only one is killed for 5 s":     {1, backAfter(5*time.Second, (*actorstest.Server).Kill)},
		"the only one is killed for 10 min":  {1, backAfter(10*time.Minute, (*actorstest.Server).Kill)},
		"the only one is stopped for 20 s":   {1, backAfter(20*time.Second, (*actorstest.Server).Stop)},
		"the journal is lost for 10 s":       {1, withoutJournal},
		"the journal of three is lost, 10 s": {3, withoutJournal},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			actorstest.Bubble(t, func(w *actorstest.World) {
				var servers []*actorstest.Server
				for i := range f.servers {
					servers = append(servers, w.Server(fmt.Sprintf("s%d", i)))
				}
				w.Settled(servers...)
				var acts executions
				until := make(chan struct{})
				def := w.Workflow("build", messages.Sticky_STICKY_SOFT, acts.function(until))
				w.Worker("w0", def)
				w.Worker("w1", def)
				ids := w.Bulk(servers[0], def, 6)
				time.Sleep(3 * time.Second)
				left := f.do(w, servers)
				for _, id := range ids {
					if got := acts.of(id); len(got) != 1 || !got[0].to.IsZero() {
						w.T.Errorf("run %s: %d executions, the first ended by %v", id, len(got), got[0].cause)
					}
				}
				close(until)
				for _, id := range ids {
					w.Ends(left, id, 30*time.Second, messages.RunStatus_RUN_STATUS_SUCCEEDED)
				}
				w.NotRepeated(ids)
			})
		})
	}
}

func backAfter(away time.Duration, end func(*actorstest.Server)) func(*actorstest.World, []*actorstest.Server) *actorstest.Server {
	return func(w *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
		end(servers[0])
		w.First = nil
		time.Sleep(away)
		again := w.StartServer("s0", servers[0].Network.Again(), server.HostConfig{})
		time.Sleep(5 * time.Second)
		return again
	}
}

func withoutJournal(w *actorstest.World, servers []*actorstest.Server) *actorstest.Server {
	w.Store.Before(func(method, _ string) error {
		if slices.Contains([]string{"DueRead", "WokenByUpRead", "Appended"}, method) {
			return nil
		}
		return actorstest.ErrJournalDown
	})
	time.Sleep(10 * time.Second)
	w.Store.Before(nil)
	time.Sleep(5 * time.Second)
	return servers[0]
}

// What was sent to a worker before its lease ended, and is read when it has
// another one, is not executed: the run may be another's by now.
func TestWorkerStartsNothingOfAnEarlierLease(t *testing.T) {
	actorstest.Bubble(t, func(w *actorstest.World) {
		s := w.Server("s0")
		w.Settled(s)
		var mu sync.Mutex
		var began []error
		def := w.Workflow("build", messages.Sticky_STICKY_SOFT, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			began = append(began, ctx.Err())
			return nil, ctx.Err()
		})
		p := w.Worker("w0", def)
		busy, root := make(chan struct{}), p.Node.System().Root
		p.SetHooks(&worker.Hooks{Draining: func() { <-busy }})
		root.Send(p.PID(), &messages.DrainWorker{WorkerId: p.Ref().WorkerId, Incarnation: p.Ref().Incarnation, DeadlineMs: 60_000})
		root.Send(p.PID(), &messages.Dispatch{RunId: "r1", Step: "work", Attempt: 1, Epoch: 1, Workflow: def.Name, Sticky: messages.Sticky_STICKY_SOFT, Bound: true})
		time.Sleep(time.Second)
		p.LeaseChanged(cluster.LeaseChange{Term: 1})
		p.LeaseChanged(cluster.LeaseChange{Held: true, Term: 2})
		close(busy)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(began) > 0 {
			t.Errorf("the function was called, its context says %v", began)
		}
	})
}
