package server_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// Of the runs that nobody serves some ask placement and the others are parked:
// both are counted, each once. Each entry is told once, whoever wrote it.
func TestHostCountsWhatWaits(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		w.Record(def)
		var started, ended atomic.Int32
		committed := func(st *run.State, e *messages.Entry) {
			for _, ev := range e.Events {
				switch {
				case ev.GetRunStarted() != nil:
					started.Add(1)
				case ev.GetRunEnded() != nil && st.Ended():
					ended.Add(1)
				}
			}
		}
		const lineMax = 500
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{LineMax: lineMax, Hooks: server.HostHooks{Committed: committed}})
		<-s.Recovered
		const n = lineMax + 500
		w.Bulk(s, def, n)
		time.Sleep(2 * time.Second)
		asking := 0
		for _, f := range s.Places.Figures() {
			for _, waiting := range f.Waiting {
				if f.Pool != "default" || waiting.Workflow != "build" || waiting.Reason != messages.WaitReason_WAIT_REASON_NO_WORKER {
					t.Errorf("pool %s: %+v", f.Pool, waiting)
				}
				asking += waiting.Questions
			}
		}
		parked := s.Host.Parked()
		if len(parked.Lines) != 1 || parked.Lines[0] != (server.ParkedLine{Pool: "default", Workflow: "build", Runs: n - asking}) || asking < activation.LineLeast || asking > lineMax {
			t.Errorf("%d of %d runs ask, parked are %+v", asking, n, parked)
		}
		if got := started.Load(); got != n {
			t.Errorf("told of %d starts, want %d", got, n)
		}
		w.WorkerWith("w1", w.Network.Host("w1"), 200, def)
		w.Within(time.Minute, "the runs end", func() bool { return ended.Load() == n })
		time.Sleep(11 * time.Second)
		if parked := s.Host.Parked(); len(parked.Lines) > 0 || parked.Away > 0 {
			t.Errorf("nothing waits any more: %+v", parked)
		}
		if got := ended.Load(); got != n {
			t.Errorf("told of %d ends, want %d", got, n)
		}
		for _, f := range s.Places.Figures() {
			if len(f.Waiting) > 0 || f.Waited[messages.WaitReason_WAIT_REASON_NO_WORKER] < time.Duration(asking)*time.Second || len(f.Workers) != 1 {
				t.Errorf("afterwards: %+v", f)
			}
		}
	})
}

// A HARD run whose worker has gone is away; with its worker its figures leave.
func TestHostCountsRunsWhoseWorkerIsAway(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		release := make(chan struct{})
		def := w.Workflow("build", hard, hold(release))
		s := w.Server("s1")
		p := w.Worker("w1", def)
		for i := range 3 {
			w.Start(s, fmt.Sprint("r", i), def)
		}
		time.Sleep(time.Second)
		if parked := s.Host.Parked(); parked.Away != 0 {
			t.Errorf("away before the worker is: %+v", parked)
		}
		p.Kill()
		w.Dormant(s, "r0")
		time.Sleep(11 * time.Second)
		if parked := s.Host.Parked(); parked.Away != 3 || len(parked.Lines) > 0 {
			t.Errorf("three runs wait for their worker: %+v", parked)
		}
		for _, f := range s.Places.Figures() {
			if len(f.Workers) > 0 {
				t.Errorf("a worker that has gone is shown: %+v", f)
			}
		}
		close(release)
	})
}
