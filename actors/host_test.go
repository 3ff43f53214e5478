package actors

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const (
	hard      = messages.Sticky_STICKY_HARD
	soft      = messages.Sticky_STICKY_SOFT
	none      = messages.Sticky_STICKY_NONE
	succeeded = messages.RunStatus_RUN_STATUS_SUCCEEDED
)

// failOnce fails the first attempt of each run.
func failOnce(_ context.Context, a *attempt.Attempt) ([]byte, error) {
	if a.Dispatch.Attempt == 1 {
		return nil, errors.New("not yet")
	}
	return []byte("1"), nil
}

// hold returns a function that blocks until its attempt is canceled or the
// channel closed.
func hold(until <-chan struct{}) attempt.Function {
	return func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
		select {
		case <-until:
			return []byte("1"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestHostWakesARunAtItsTime(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, failOnce)
		s := w.server("s1")
		w.worker("w1", def)
		w.start(s, "r1", def)
		if row := w.dormant(s, "r1"); row.WakeAt.IsZero() {
			w.t.Fatalf("dormant without a time: %+v", row)
		}
		w.ends(s, "r1", 15*time.Second, succeeded)
	})
}

// The journal stores a wake-up time late, while the waker looks at another one.
func TestHostWakesARunWhoseDormancyWasStoredLate(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, failOnce)
		s := w.server("s1")
		w.worker("w1", def)
		w.start(s, "a", def)
		first := w.dormant(s, "a").WakeAt
		// At the first run's time there is nothing to wake any more.
		if err := s.host.Engine().CancelRun(w.t.Context(), "a", ""); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Until(first) - 1500*time.Millisecond)
		w.start(s, "b", def)
		time.Sleep(time.Second - 200*time.Millisecond)
		w.store.before(func(method, arg string) error {
			if method == "Append" && arg == "b" {
				time.Sleep(time.Second)
			}
			return nil
		})
		w.ends(s, "b", 20*time.Second, succeeded)
	})
}

// pending starts a HARD run, kills its worker and waits until the run is
// dormant.
func (w *hostWorld) pending(s *testServer, id string, def *messages.WorkflowDefinition) {
	w.t.Helper()
	p := w.worker("w1", def)
	w.start(s, id, def)
	time.Sleep(100 * time.Millisecond)
	p.kill()
	if row := w.dormant(s, id); row.WakeOnUp != "w1" {
		w.t.Fatalf("waits for %q to come up", row.WakeOnUp)
	}
}

// firstBlocks blocks on the first worker process, and succeeds on the next.
func firstBlocks() attempt.Function {
	var incarnation atomic.Value
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		incarnation.CompareAndSwap(nil, a.Worker.Incarnation)
		if incarnation.Load() == a.Worker.Incarnation {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return []byte("1"), nil
	}
}

func TestHostWakesARunWhoseWorkerIsBack(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, firstBlocks())
		s := w.server("s1")
		w.pending(s, "r1", def)
		w.worker("w1", def)
		w.ends(s, "r1", 2*time.Second, succeeded)
	})
}

func TestHostLoadsAgainWhatItCouldNotLoad(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, firstBlocks())
		s := w.server("s1")
		w.pending(s, "r1", def)
		w.store.before(func(method, _ string) error {
			if method == "Load" {
				return errJournalDown
			}
			return nil
		})
		w.worker("w1", def)
		time.Sleep(5 * time.Second)
		w.store.before(nil)
		w.ends(s, "r1", 10*time.Second, succeeded)
	})
}

func TestHostLoadsAgainWhatItCouldNotRecover(t *testing.T) {
	for _, method := range []string{"Definition", "WatchedWorkers", "Due"} {
		t.Run(method, func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.workflow("build", soft, succeed)
				s := w.server("s1")
				w.record(def)
				w.start(s, "r1", def)
				s.stop()
				w.first = nil
				w.store.before(func(called, _ string) error {
					if method == called {
						return errJournalDown
					}
					return nil
				})
				s = w.startServer("s2", w.network.Host("s2"), HostConfig{})
				time.Sleep(5 * time.Second)
				w.store.before(nil)
				w.worker("w1", def)
				w.ends(s, "r1", 10*time.Second, succeeded)
			})
		})
	}
}

// The news that the worker is up reaches the run after it left memory, and the
// query for dormant runs came before its row was stored.
func TestHostWakesARunThatBecomesDormantAsItsWorkerComesUp(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, firstBlocks())
		s := w.server("s1")
		p := w.worker("w1", def)
		w.start(s, "r1", def)
		time.Sleep(100 * time.Millisecond)
		p.kill()
		lost := make(chan struct{})
		stop := s.roster.OnChange(func(c run.WorkerChanged) {
			if c.State == run.WorkerGone {
				close(lost)
			}
		})
		<-lost
		stop()
		time.Sleep(500 * time.Millisecond)
		gate, looked := make(chan struct{}), make(chan struct{}, 100)
		w.store.before(func(method, arg string) error {
			switch method {
			case "Append":
				<-gate
			case "WokenByUpRead":
				looked <- struct{}{}
			}
			return nil
		})
		defer s.roster.OnChange(func(c run.WorkerChanged) {
			if c.State != run.WorkerUp {
				return
			}
			select {
			case <-looked:
			case <-time.After(time.Second):
			}
			time.Sleep(time.Second)
			close(gate)
			w.dormant(s, "r1")
			w.store.before(nil)
		})()
		w.worker("w1", def)
		w.ends(s, "r1", 10*time.Second, succeeded)
	})
}

// The worker comes up while the server of its run is dead, and before others
// have noticed.
func TestHostWakesRunsOfShardsThatItGainsAfterTheirWorkerCameUp(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, firstBlocks())
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		alive, dead := s1, s2
		if m, _ := s1.node.View().OwnerOf(cluster.KindPlacement, "default"); m.Name == s2.node.Self().Name {
			alive, dead = s2, s1
		}
		w.first = alive
		id := w.ownedBy(dead)
		w.pending(dead, id, def)
		w.dormant(alive, id)
		dead.network.Freeze()
		w.worker("w1", def)
		if m, _ := alive.node.View().OwnerOfRun(id); m.Name != dead.node.Self().Name {
			w.t.Fatal("the death was noticed before the worker was up")
		}
		w.ends(alive, id, 10*time.Second, succeeded)
		dead.network.Thaw()
	})
}

// settled waits until the servers see each other and have recovered.
func (w *hostWorld) settled(servers ...*testServer) {
	w.t.Helper()
	for _, s := range servers {
		if _, err := s.node.Await(w.t.Context(), func(v *cluster.View) bool { return len(v.Servers()) == len(servers) }); err != nil {
			w.t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
}

// ownedBy returns a run id of the server's.
func (w *hostWorld) ownedBy(s *testServer) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("r%d", i); s.host.owns(id) {
			return id
		}
	}
}

// Who waits for a run hears of its end wherever it ends.
func TestHostTellsOfAnEndOnAnotherServer(t *testing.T) {
	for _, at := range []string{"another server", "the server that the run leaves"} {
		t.Run(at, func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				until := make(chan struct{})
				def := w.workflow("build", soft, hold(until))
				s1 := w.server("s1")
				w.worker("w1", def)
				for i := range 20 {
					w.start(s1, fmt.Sprintf("r%d", i), def)
				}
				var id string
				asked := s1
				ask := make(chan struct{})
				go func() {
					<-ask
					time.Sleep(5 * time.Second)
					close(until)
				}()
				if at == "another server" {
					s2 := w.server("s2")
					w.settled(s1, s2)
					id = w.ownedBy(s2)
					close(ask)
					time.AfterFunc(time.Second, func() {
						s2.network.Freeze()
					})
				} else {
					id = w.leaves(s1, "s2")
					close(ask)
					defer w.later(time.Second, func() { w.startServer("s2", w.network.Host("s2"), HostConfig{}) })()
				}
				begin := time.Now()
				for ended := false; !ended; {
					reply, err := asked.host.Engine().WatchRun(w.t.Context(), &messages.WatchRun{RunId: id, WaitMs: 20_000, UntilEnded: true, WithoutEntries: true})
					if err != nil {
						w.t.Fatal(err)
					}
					ended = reply.Ended
				}
				if took := time.Since(begin); took > 10*time.Second {
					w.t.Fatalf("the end was heard of after %v: %s", took, w.history(id))
				}
			})
		})
	}
}

// leaves returns a run id of the server's that another server will own.
func (w *hostWorld) leaves(s *testServer, other string) string {
	members := append(s.node.View().Members, cluster.Member{Name: other + "~x", WorkerID: other, Role: cluster.RoleServer, State: cluster.StateReady})
	for i := 0; ; i++ {
		id := fmt.Sprintf("r%d", i)
		if m, _ := cluster.NewView(1, members).OwnerOfRun(id); m.WorkerID == other {
			return id
		}
	}
}
