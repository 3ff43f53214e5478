package server_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const (
	hard      = messages.Sticky_STICKY_HARD
	soft      = messages.Sticky_STICKY_SOFT
	none      = messages.Sticky_STICKY_NONE
	succeeded = messages.RunStatus_RUN_STATUS_SUCCEEDED
)

// hostWorld is a cluster with what only these tests ask of it.
type hostWorld struct{ *actorstest.World }

func hostBubble(t *testing.T, f func(w *hostWorld)) {
	actorstest.Bubble(t, func(w *actorstest.World) { f(&hostWorld{w}) })
}

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
		def := w.Workflow("build", soft, failOnce)
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		if row := w.Dormant(s, "r1"); row.WakeAt.IsZero() {
			w.T.Fatalf("dormant without a time: %+v", row)
		}
		w.Ends(s, "r1", 15*time.Second, succeeded)
	})
}

// A run whose newest entry is of a server that was ahead, and is no more, does not stand
// still until the clock of its next server is as far: that goes on from there.
func TestHostGoesOnFromTheNewestEntry(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, failOnce)
		w.Record(def)
		ahead := time.Now().Add(time.Hour)
		m := run.New("r1", def, &run.Config{})
		m.Handle(run.Start{Started: actorstest.StartOf("r1", def).Start}, ahead)
		for _, act := range m.Handle(run.TimerDue{}, ahead.Add(time.Second)) {
			if entry, ok := act.(run.Append); ok {
				data, err := proto.Marshal(entry.Entry)
				if err != nil {
					w.T.Fatal(err)
				}
				row := projection.Row(m.State(), messages.Shard("r1"))
				if err := w.Store.Store.Append(w.T.Context(), []journal.Append{{RunID: "r1", Number: 1, Entry: data, Row: row}})[0]; err != nil {
					w.T.Fatal(err)
				}
			}
		}
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Ends(s, "r1", 15*time.Second, succeeded)
		if now := s.Host.Now(); now.Before(ahead) {
			w.T.Errorf("the server's clock is %v behind what is stored", ahead.Sub(now))
		}
	})
}

// The journal stores a wake-up time late, while the waker looks at another one.
func TestHostWakesARunWhoseDormancyWasStoredLate(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, failOnce)
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "a", def)
		first := w.Dormant(s, "a").WakeAt
		// At the first run's time there is nothing to wake any more.
		if err := s.Host.Engine().CancelRun(w.T.Context(), &messages.CancelRun{RunId: "a"}); err != nil {
			w.T.Fatal(err)
		}
		time.Sleep(time.Until(first) - 1500*time.Millisecond)
		w.Start(s, "b", def)
		time.Sleep(time.Second - 200*time.Millisecond)
		w.Store.Before(func(method, arg string) error {
			if method == "Append" && arg == "b" {
				time.Sleep(time.Second)
			}
			return nil
		})
		w.Ends(s, "b", 20*time.Second, succeeded)
	})
}

// pending starts a HARD run, kills its worker and waits until the run is
// dormant.
func (w *hostWorld) pending(s *actorstest.Server, id string, def *messages.WorkflowDefinition) {
	w.T.Helper()
	p := w.Worker("w1", def)
	w.Start(s, id, def)
	time.Sleep(100 * time.Millisecond)
	p.Kill()
	if row := w.Dormant(s, id); row.WakeOnUp != "w1" {
		w.T.Fatalf("waits for %q to come up", row.WakeOnUp)
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
		def := w.Workflow("build", hard, firstBlocks())
		s := w.Server("s1")
		w.pending(s, "r1", def)
		w.Worker("w1", def)
		w.Ends(s, "r1", 2*time.Second, succeeded)
	})
}

func TestHostLoadsAgainWhatItCouldNotLoad(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, firstBlocks())
		s := w.Server("s1")
		w.pending(s, "r1", def)
		w.Store.Before(func(method, _ string) error {
			if method == "Load" {
				return actorstest.ErrJournalDown
			}
			return nil
		})
		w.Worker("w1", def)
		time.Sleep(5 * time.Second)
		w.Store.Before(nil)
		w.Ends(s, "r1", 10*time.Second, succeeded)
	})
}

func TestHostLoadsAgainWhatItCouldNotRecover(t *testing.T) {
	for _, method := range []string{"Definition", "WatchedWorkers", "Due"} {
		t.Run(method, func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.Workflow("build", soft, succeed)
				s := w.Server("s1")
				w.Record(def)
				w.Start(s, "r1", def)
				s.Stop()
				w.First = nil
				w.Store.Before(func(called, _ string) error {
					if method == called {
						return actorstest.ErrJournalDown
					}
					return nil
				})
				s = w.StartServer("s2", w.Network.Host("s2"), server.HostConfig{})
				time.Sleep(5 * time.Second)
				w.Store.Before(nil)
				w.Worker("w1", def)
				w.Ends(s, "r1", 10*time.Second, succeeded)
			})
		})
	}
}

// The news that the worker is up reaches the run after it left memory, and the
// query for dormant runs came before its row was stored.
func TestHostWakesARunThatBecomesDormantAsItsWorkerComesUp(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, firstBlocks())
		s := w.Server("s1")
		p := w.Worker("w1", def)
		w.Start(s, "r1", def)
		time.Sleep(100 * time.Millisecond)
		p.Kill()
		lost := make(chan struct{})
		stop := s.Roster.OnChange(func(c run.WorkerChanged) {
			if c.State == run.WorkerGone {
				close(lost)
			}
		})
		<-lost
		stop()
		time.Sleep(500 * time.Millisecond)
		gate, looked := make(chan struct{}), make(chan struct{}, 100)
		w.Store.Before(func(method, arg string) error {
			switch method {
			case "Append":
				<-gate
			case "WokenByUpRead":
				looked <- struct{}{}
			}
			return nil
		})
		defer s.Roster.OnChange(func(c run.WorkerChanged) {
			if c.State != run.WorkerUp {
				return
			}
			select {
			case <-looked:
			case <-time.After(time.Second):
			}
			time.Sleep(time.Second)
			close(gate)
			w.Dormant(s, "r1")
			w.Store.Before(nil)
		})()
		w.Worker("w1", def)
		w.Ends(s, "r1", 10*time.Second, succeeded)
	})
}

// The worker comes up while the server of its run is dead, and before others
// have noticed.
func TestHostWakesRunsOfShardsThatItGainsAfterTheirWorkerCameUp(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, firstBlocks())
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		alive, dead := s1, s2
		if m, _ := s1.Node.View().OwnerOf(cluster.KindPlacement, "default"); m.Name == s2.Node.Self().Name {
			alive, dead = s2, s1
		}
		w.First = alive
		id := w.ownedBy(dead)
		w.pending(dead, id, def)
		w.Dormant(alive, id)
		dead.Network.Freeze()
		w.Worker("w1", def)
		if m, _ := alive.Node.View().OwnerOfRun(id); m.Name != dead.Node.Self().Name {
			w.T.Fatal("the death was noticed before the worker was up")
		}
		w.Ends(alive, id, 10*time.Second, succeeded)
		dead.Network.Thaw()
	})
}

// ownedBy returns a run id of the server's.
func (w *hostWorld) ownedBy(s *actorstest.Server) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("r%d", i); s.Host.Owns(id) {
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
				def := w.Workflow("build", soft, hold(until))
				s1 := w.Server("s1")
				w.Worker("w1", def)
				for i := range 20 {
					w.Start(s1, fmt.Sprintf("r%d", i), def)
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
					s2 := w.Server("s2")
					w.Settled(s1, s2)
					id = w.ownedBy(s2)
					close(ask)
					time.AfterFunc(time.Second, func() {
						s2.Network.Freeze()
					})
				} else {
					id = w.leaves(s1, "s2")
					close(ask)
					defer w.Later(time.Second, func() { w.StartServer("s2", w.Network.Host("s2"), server.HostConfig{}) })()
				}
				begin := time.Now()
				for ended := false; !ended; {
					reply, err := asked.Host.Engine().WatchRun(w.T.Context(), &messages.WatchRun{RunId: id, WaitMs: 20_000, UntilEnded: true, WithoutEntries: true})
					if err != nil {
						w.T.Fatal(err)
					}
					ended = reply.Ended
				}
				if took := time.Since(begin); took > 10*time.Second {
					w.T.Fatalf("the end was heard of after %v: %s", took, w.History(id))
				}
			})
		})
	}
}

// leaves returns a run id of the server's that another server will own.
func (w *hostWorld) leaves(s *actorstest.Server, other string) string {
	members := append(s.Node.View().Members, cluster.Member{Name: other + "~x", WorkerID: other, Role: cluster.RoleServer, State: cluster.StateReady})
	for i := 0; ; i++ {
		id := fmt.Sprintf("r%d", i)
		if m, _ := cluster.NewView(1, members).OwnerOfRun(id); m.WorkerID == other {
			return id
		}
	}
}

func succeed(context.Context, *attempt.Attempt) ([]byte, error) { return []byte(`"done"`), nil }
