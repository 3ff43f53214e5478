package server_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// Runs that this version cannot read are due for ever; they keep neither the
// server busy nor the others asleep.
func TestHostWakesRunsBehindThoseThatItCannotRead(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, failOnce)
		w.Record(def)
		const unreadable = 2 * server.PageSize
		for i := range unreadable {
			id := fmt.Sprintf("unreadable%d", i)
			errs := w.Store.Store.Append(w.T.Context(), []journal.Append{{RunID: id, Number: 1, Entry: []byte("not an entry"), Row: &journal.Row{
				RunID: id, Shard: messages.Shard(id), Workflow: def.Name, DefinitionHash: messages.HashDefinition(def), Pool: "default",
				Status: messages.RunStatus_RUN_STATUS_RUNNING, Dormant: true, WakeAt: time.Now(), CreatedAt: time.Now(),
			}}})
			if errs[0] != nil {
				w.T.Fatal(errs[0])
			}
		}
		var loads atomic.Int32
		w.Store.Before(func(method, _ string) error {
			if method == "Load" {
				loads.Add(1)
			}
			return nil
		})
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		w.Ends(s, "r1", 15*time.Second, succeeded)
		time.Sleep(20 * time.Second)
		if n := loads.Load(); n > 2*unreadable {
			w.T.Fatalf("%d loads of %d runs", n, unreadable)
		}
	})
}

// A server full of runs that take their time wakes others all the same.
func TestHostWakesRunsWhileItIsFull(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, firstBlocks())
		s := w.Server("s1")
		w.pending(s, "r1", def)
		others := make([]string, server.WokenMax+1)
		for i := range others {
			others[i] = fmt.Sprint("other", i)
		}
		defer s.Host.Fill(others)()
		w.Worker("w1", def)
		w.Ends(s, "r1", 5*time.Second, succeeded)
	})
}

// Runs are woken as fast as the journal takes what they write, not all at once.
func TestHostWakesNoFasterThanTheJournalWrites(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		var open atomic.Bool
		def := w.Workflow("build", hard, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			if !open.Load() {
				<-ctx.Done()
			}
			return []byte("1"), ctx.Err()
		})
		w.Committer.MaxBatch = 50
		s := w.Server("s1")
		const runs = 6000
		p := w.WorkerWith("w1", w.Network.Host("w1"), runs, def)
		ids := w.Bulk(s, def, runs)
		time.Sleep(5 * time.Second)
		p.Kill()
		w.Dormant(s, ids[0])
		open.Store(true)
		w.Store.Before(func(method, _ string) error {
			if method == "Append" {
				time.Sleep(time.Millisecond / 10)
			}
			return nil
		})
		w.WorkerWith("w1", p.Network.Again(), runs, def)
		most := 0
		for begin := time.Now(); time.Since(begin) < 5*time.Second; {
			most = max(most, s.Host.ActiveRuns())
			time.Sleep(time.Millisecond)
		}
		for _, id := range ids {
			w.Ends(s, id, time.Minute, succeeded)
		}
		if most < server.WokenLeast || most > 3*server.WokenLeast {
			t.Errorf("at most %d runs were in memory", most)
		}
	})
}

// A worker goes while no server is there, under a step that waits for a child;
// the journal answers late. The wait goes on without the worker.
func TestHostWakesARunWhoseWorkerWentUnnoticed(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		child := w.Workflow("child", none, hold(nil))
		child.Steps[0].Labels = []*messages.LabelRule{{Key: "nowhere", Value: "1", Required: true}}
		var awaited atomic.Value
		def := w.Workflow("parent", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			if a.Worker.WorkerId == "w2" {
				return []byte("1"), nil
			}
			id, err := a.Calls.SpawnChild(ctx, &messages.SpawnChild{Workflow: "child", Input: []byte("null"), Key: "k"})
			if err != nil {
				return nil, err
			}
			awaited.Store(id)
			_, err = a.Calls.AwaitCall(ctx, actorstest.ForChild(id))
			return nil, err
		})
		w.Record(child)
		s := w.Server("s1")
		p := w.Worker("w1", def)
		w.Start(s, "r1", def)
		for range 500 {
			record, err := w.Store.Store.Load(w.T.Context(), "r1")
			if err != nil {
				w.T.Fatal(err)
			}
			if record.Row.WakeOnGone == "w1" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		s.Stop()
		p.Kill()
		w.First = nil
		w.Store.Before(func(method, _ string) error {
			if method == "WatchedWorkers" {
				return actorstest.ErrJournalDown
			}
			return nil
		})
		s = w.StartServer("s2", w.Network.Host("s2"), server.HostConfig{})
		w.Worker("w2", def)
		time.Sleep(5 * time.Second)
		w.Store.Before(nil)
		w.Within(15*time.Second, "the wait of r1 has lost its worker", func() bool { return w.Events("r1")["*messages.Event_AttemptSuspended"] == 1 })
		if err := s.Host.Engine().CancelRun(w.T.Context(), &messages.CancelRun{RunId: awaited.Load().(string)}); err != nil {
			w.T.Fatal(err)
		}
		w.Ends(s, "r1", 15*time.Second, succeeded)
	})
}

// Who asks for a run and goes away is not kept until the run answers.
func TestWaitingForEndsWithItsContext(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", hard, firstBlocks())
		s := w.Server("s1")
		w.pending(s, "r1", def)
		defer s.Host.Fill([]string{"r1"})()
		ctx, cancel := context.WithTimeout(w.T.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := s.Host.Engine().LoadRun(ctx, "r1"); err != nil {
			w.T.Fatal(err)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			w.T.Errorf("it took %v", took)
		}
	})
}
