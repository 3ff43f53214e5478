package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// moveWorld is a cluster whose placement moves: five workers of one slot each
// that are busy, and questions that wait.
type moveWorld struct {
	*actorstest.World
	def     *messages.WorkflowDefinition
	servers []*actorstest.Server
	workers map[string]*actorstest.Worker
	release chan struct{}

	mu sync.Mutex
	// starts are the times at which functions began.
	starts []time.Time
}

func newMoveWorld(w *actorstest.World, servers int) *moveWorld {
	m := &moveWorld{World: w, workers: map[string]*actorstest.Worker{}, release: make(chan struct{})}
	m.def = w.Workflow("build", messages.Sticky_STICKY_SOFT, func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
		m.begin()
		select {
		case <-m.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return []byte("1"), nil
	})
	for i := range servers {
		m.servers = append(m.servers, w.Server(fmt.Sprintf("s%d", i+1)))
	}
	w.Settled(m.servers...)
	for i := range 5 {
		id := fmt.Sprintf("w%d", i+1)
		m.workers[id] = w.WorkerOn(id, w.Network.Host(id), m.def)
	}
	return m
}

func (m *moveWorld) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starts = append(m.starts, time.Now())
}

// owner is the server that owns placement.
func (m *moveWorld) owner() *actorstest.Server {
	for _, s := range m.servers {
		if own, ok := s.Node.View().OwnerOf(cluster.KindPlacement, "default"); ok && own.Name == s.Node.Self().Name {
			return s
		}
	}
	m.T.Fatal("nobody owns placement")
	return nil
}

// firstAfter waits for the first function that begins after a time.
func (m *moveWorld) firstAfter(at time.Time, within time.Duration) time.Duration {
	m.T.Helper()
	for time.Since(at) < within {
		m.mu.Lock()
		for _, s := range m.starts {
			if s.After(at) {
				m.mu.Unlock()
				return s.Sub(at)
			}
		}
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	m.T.Fatalf("nothing began within %v", within)
	return 0
}

// longestPause is the longest time without a beginning between two times.
func (m *moveWorld) longestPause(from, to time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var longest time.Duration
	last := from
	for _, s := range m.starts {
		if s.After(from) && s.Before(to) {
			longest, last = max(longest, s.Sub(last)), s
		}
	}
	return longest
}

// queuedMost watches the workers' queues until stop is called, and returns the
// longest: what was granted beyond the slots waits there.
func (m *moveWorld) watchQueues() (stop func() int32) {
	end, longest := make(chan struct{}), make(chan int32)
	go func() {
		var most int32
		for {
			for _, w := range m.workers {
				most = max(most, w.LastLoad().GetQueued())
			}
			select {
			case <-end:
				longest <- most
				return
			case <-time.After(500 * time.Microsecond):
			}
		}
	}()
	return func() int32 {
		close(end)
		return <-longest
	}
}

// The server that places dies. After the verdict, placement on another server
// answers within a second, with 2,000 questions that wait.
func TestPlacementIsRebuiltWithinASecond(t *testing.T) {
	actorstest.Bubble(t, func(w *actorstest.World) {
		m := newMoveWorld(w, 3)
		var other *actorstest.Server
		owner := m.owner()
		for _, s := range m.servers {
			if s != owner {
				other = s
			}
		}
		ids := w.Bulk(other, m.def, 2000)
		time.Sleep(2 * time.Second)
		died := time.Now()
		owner.Kill()
		ctx, cancel := context.WithTimeout(w.T.Context(), 10*time.Second)
		defer cancel()
		if _, err := other.Node.Await(ctx, func(v *cluster.View) bool { return len(v.Servers()) == 2 }); err != nil {
			w.T.Fatal(err)
		}
		verdict := time.Now()
		close(m.release)
		took := m.firstAfter(verdict, 5*time.Second)
		w.T.Logf("the verdict came after %v, the first placing %v after it", verdict.Sub(died), took)
		if took > time.Second {
			w.T.Errorf("placement answered %v after the verdict", took)
		}
		for _, id := range ids {
			w.Ends(other, id, time.Minute, messages.RunStatus_RUN_STATUS_SUCCEEDED)
		}
		w.RecordedOnce(ids)
	})
}

// A server joins and owns placement, and then leaves: nothing is placed for less
// than half a second, and no worker is granted more than its slots.
func TestPlacementMovesWithoutALongPause(t *testing.T) {
	actorstest.Bubble(t, func(w *actorstest.World) {
		// What was granted is on its way for a while.
		w.Store.Store = journaltest.NewFaulty(journaltest.FaultyConfig{Seed: 1, Delay: 1, DelayMax: 80 * time.Millisecond})
		m := newMoveWorld(w, 2)
		close(m.release)
		ids := w.Bulk(m.servers[0], m.def, 2000)
		begin, queued := time.Now(), m.watchQueues()
		time.Sleep(500 * time.Millisecond)
		left := m.owner()
		left.Retire(w.T.Context())
		time.Sleep(3 * time.Second)
		beyond := queued()
		w.T.Logf("the longest pause was %v, the longest queue of a worker %d", m.longestPause(begin, time.Now()), beyond)
		if beyond > 0 {
			w.T.Errorf("%d attempts were granted beyond the slots of a worker", beyond)
		}
		if d := m.longestPause(begin, time.Now()); d > 500*time.Millisecond {
			w.T.Errorf("nothing was placed for %v", d)
		}
		s := m.servers[0]
		if s == left {
			s = m.servers[1]
		}
		for _, id := range ids {
			w.Ends(s, id, time.Minute, messages.RunStatus_RUN_STATUS_SUCCEEDED)
		}
		w.RecordedOnce(ids)
	})
}
