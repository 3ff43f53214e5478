package actorstest

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// World is a whole cluster in memory on fake time: servers with hosts, rosters
// and placement over one store, and workers.
type World struct {
	T       *testing.T
	Network clustertest.Network
	// Store is the journal of all servers.
	Store *HookedStore
	// First is the server that others join; nil before there is one.
	First *Server
	// Stops are called at the end, the last one first.
	Stops []func()
	// Committer configures those of the servers that are started from now on.
	Committer journal.CommitterConfig
	// Functions and Locals of the workflows that workers serve.
	Functions attempt.Functions
	Locals    attempt.Locals
}

// Bubble runs f with a world of its own, on fake time. All that f has started is
// stopped afterwards.
func Bubble(t *testing.T, f func(w *World)) {
	bubble.Test(t, func(t *testing.T) {
		w := &World{T: t, Store: &HookedStore{Store: journal.NewMemory()}, Functions: attempt.Functions{}}
		defer func() {
			w.Network.Heal()
			w.Store.Before(nil)
			for i := len(w.Stops) - 1; i >= 0; i-- {
				w.Stops[i]()
			}
			// Goroutines of dispatchers and timers of the library end by themselves.
			time.Sleep(time.Minute)
		}()
		f(w)
	})
}

// Later calls f after a while; wait returns when it has.
func (w *World) Later(d time.Duration, f func()) (wait func()) {
	done := make(chan struct{})
	time.AfterFunc(d, func() {
		defer close(done)
		f()
	})
	return func() { <-done }
}
