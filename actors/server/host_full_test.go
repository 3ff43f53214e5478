package server_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
)

// When a worker goes to which more runs are bound than may wait for the
// journal, their appends wait all the same: no activation is thrown away.
func TestHostLosesAWorkerOfMoreRunsThanMayWait(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		w.Committer = journal.CommitterConfig{QueueMax: 20, MaxBatch: 5}
		w.Store.Store = slowStore{w.Store.Store}
		var failed atomic.Int32
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{Hooks: server.HostHooks{AppendFailed: func(string, error) { failed.Add(1) }}})
		<-s.Recovered
		def := w.Workflow("build", hard, hold(nil))
		def.Steps[0].Retries = 0
		worker := w.WorkerWith("w1", w.Network.Host("w1"), 300, def)
		var ids []string
		for len(ids) < 300 {
			id := "r" + string(rune('a'+len(ids)/26)) + string(rune('a'+len(ids)%26))
			w.Start(s, id, def)
			ids = append(ids, id)
		}
		time.Sleep(time.Second)
		worker.Kill()
		begin := time.Now()
		for _, id := range ids {
			w.Dormant(s, id)
		}
		t.Logf("%d appends failed, all runs wait %v later", failed.Load(), time.Since(begin))
		if failed.Load() > 0 {
			t.Errorf("%d appends were refused", failed.Load())
		}
		for _, id := range ids {
			if n := w.Events(id); n["*messages.Event_BindingLost"] != 1 || n["*messages.Event_StepDispatched"] != 1 {
				t.Fatalf("run %s: %v: %s", id, n, w.History(id))
			}
		}
	})
}
