package server_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// A wait for the end of a run that is in memory reads nothing of it if it ends soon,
// and else what is stored: the end may have been another server's.
func TestAWaitForARunThatEndsSoonReadsNothing(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, func(_ context.Context, a *attempt.Attempt) ([]byte, error) {
			if a.Dispatch.RunId == "slow" {
				time.Sleep(time.Second)
			}
			time.Sleep(10 * time.Millisecond)
			return []byte("1"), nil
		})
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "first", def)
		w.Ends(s, "first", time.Minute, succeeded)
		var reads atomic.Int32
		w.Store.Before(func(method, id string) error {
			if method == "Entries" && (id == "soon" || id == "slow") {
				reads.Add(1)
			}
			return nil
		})
		for _, c := range []struct {
			id    string
			reads int32
		}{{"soon", 0}, {"slow", 1}} {
			w.Start(s, c.id, def)
			reply, err := s.Host.Engine().WatchRun(w.T.Context(), &messages.WatchRun{RunId: c.id, After: math.MaxInt64, WaitMs: 20_000, UntilEnded: true, WithoutEntries: true})
			if err != nil || !reply.Ended || reply.Status != succeeded {
				w.T.Fatalf("run %q: %v, %v", c.id, reply, err)
			}
			if n := reads.Swap(0); n != c.reads {
				w.T.Errorf("the wait for run %q read it %d times, want %d", c.id, n, c.reads)
			}
		}
	})
}
