package actors

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// Runs that this version cannot read are due for ever; they keep neither the
// server busy nor the others asleep.
func TestHostWakesRunsBehindThoseThatItCannotRead(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, failOnce)
		w.record(def)
		const unreadable = 2 * pageSize
		for i := range unreadable {
			id := fmt.Sprintf("unreadable%d", i)
			errs := w.store.Store.Append(w.t.Context(), []journal.Append{{RunID: id, Number: 1, Entry: []byte("not an entry"), Row: &journal.Row{
				RunID: id, Shard: cluster.Shard(id), Workflow: def.Name, DefinitionHash: messages.HashDefinition(def), Pool: "default",
				Status: messages.RunStatus_RUN_STATUS_RUNNING, Dormant: true, WakeAt: time.Now(), CreatedAt: time.Now(),
			}}})
			if errs[0] != nil {
				w.t.Fatal(errs[0])
			}
		}
		var loads atomic.Int32
		w.store.before(func(method, _ string) error {
			if method == "Load" {
				loads.Add(1)
			}
			return nil
		})
		s := w.server("s1")
		w.worker("w1", def)
		w.start(s, "r1", def)
		w.ends(s, "r1", 15*time.Second, succeeded)
		time.Sleep(20 * time.Second)
		if n := loads.Load(); n > 2*unreadable {
			w.t.Fatalf("%d loads of %d runs", n, unreadable)
		}
	})
}

// A server full of runs that take their time wakes others all the same.
func TestHostWakesRunsWhileItIsFull(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", hard, firstBlocks())
		s := w.server("s1")
		w.pending(s, "r1", def)
		s.host.mu.Lock()
		for i := range wokenMax + 1 {
			s.host.active[fmt.Sprint("other", i)] = actor.NewPID("nonhost", "nobody")
		}
		s.host.mu.Unlock()
		defer func() {
			s.host.mu.Lock()
			defer s.host.mu.Unlock()
			clear(s.host.active)
		}()
		w.worker("w1", def)
		w.ends(s, "r1", 5*time.Second, succeeded)
	})
}

// Runs are woken as fast as the journal takes what they write, not all at once.
func TestHostWakesNoFasterThanTheJournalWrites(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		var open atomic.Bool
		def := w.workflow("build", hard, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
			if !open.Load() {
				<-ctx.Done()
			}
			return []byte("1"), ctx.Err()
		})
		w.committer.MaxBatch = 50
		s := w.server("s1")
		const runs = 6000
		p := w.workerWith("w1", w.network.Host("w1"), runs, def)
		ids := w.bulk(s, def, runs)
		time.Sleep(5 * time.Second)
		p.kill()
		w.dormant(s, ids[0])
		open.Store(true)
		w.store.before(func(method, _ string) error {
			if method == "Append" {
				time.Sleep(time.Millisecond / 10)
			}
			return nil
		})
		w.workerWith("w1", p.network.Again(), runs, def)
		most := 0
		for begin := time.Now(); time.Since(begin) < 5*time.Second; {
			most = max(most, s.host.ActiveRuns())
			time.Sleep(time.Millisecond)
		}
		for _, id := range ids {
			w.ends(s, id, time.Minute, succeeded)
		}
		if most < wokenLeast || most > 3*wokenLeast {
			t.Errorf("at most %d runs were in memory", most)
		}
	})
}

// A worker goes while no server is there, under a step that waits for a child;
// the journal answers late.
func TestHostWakesARunWhoseWorkerWentUnnoticed(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		child := w.workflow("child", none, hold(nil))
		child.Steps[0].Labels = []*messages.LabelRule{{Key: "nowhere", Value: "1", Required: true}}
		def := w.workflow("parent", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			if a.Worker.WorkerId == "w2" {
				return []byte("1"), nil
			}
			id, err := a.Engine.SpawnChild(ctx, &messages.SpawnChild{Workflow: "child", Input: []byte("null"), Key: "k"})
			if err != nil {
				return nil, err
			}
			_, _, err = a.Engine.AwaitRun(ctx, id)
			return nil, err
		})
		w.record(child)
		s := w.server("s1")
		p := w.worker("w1", def)
		w.start(s, "r1", def)
		for range 500 {
			record, err := w.store.Store.Load(w.t.Context(), "r1")
			if err != nil {
				w.t.Fatal(err)
			}
			if record.Row.WakeOnGone == "w1" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		s.stop()
		p.kill()
		w.first = nil
		w.store.before(func(method, _ string) error {
			if method == "WatchedWorkers" {
				return errJournalDown
			}
			return nil
		})
		s = w.startServer("s2", w.network.Host("s2"), HostConfig{})
		w.worker("w2", def)
		time.Sleep(5 * time.Second)
		w.store.before(nil)
		w.ends(s, "r1", 15*time.Second, succeeded)
	})
}
