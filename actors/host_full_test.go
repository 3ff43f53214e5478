package actors

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

// When a worker goes to which more runs are bound than may wait for the
// journal, their appends wait all the same: no activation is thrown away.
func TestHostLosesAWorkerOfMoreRunsThanMayWait(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		w.committer = journal.CommitterConfig{QueueMax: 20, MaxBatch: 5}
		w.store.Store = slowStore{w.store.Store}
		var failed atomic.Int32
		s := w.startServer("s1", w.network.Host("s1"), HostConfig{Hooks: HostHooks{AppendFailed: func(string, error) { failed.Add(1) }}})
		<-s.recovered
		def := w.workflow("build", hard, hold(nil))
		def.Steps[0].Retries = 0
		worker := w.workerWith("w1", w.network.Host("w1"), 300, def)
		var ids []string
		for len(ids) < 300 {
			id := "r" + string(rune('a'+len(ids)/26)) + string(rune('a'+len(ids)%26))
			w.start(s, id, def)
			ids = append(ids, id)
		}
		time.Sleep(time.Second)
		worker.kill()
		begin := time.Now()
		for _, id := range ids {
			w.dormant(s, id)
		}
		t.Logf("%d appends failed, all runs wait %v later", failed.Load(), time.Since(begin))
		if failed.Load() > 0 {
			t.Errorf("%d appends were refused", failed.Load())
		}
		for _, id := range ids {
			if n := w.events(id); n["*messages.Event_BindingLost"] != 1 || n["*messages.Event_StepDispatched"] != 1 {
				t.Fatalf("run %s: %v: %s", id, n, w.history(id))
			}
		}
	})
}
