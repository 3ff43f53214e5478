package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// forEvent is a call that waits for an event; change may change the branch.
func forEvent(key string, timeout time.Duration, change ...func(*messages.WaitBranch)) *messages.AwaitCall {
	b := &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: key}
	for _, c := range change {
		c(b)
	}
	return &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_EVENT, Name: "event", Key: "#0", TimeoutMs: timeout.Milliseconds(), Branches: []*messages.WaitBranch{b}}
}

func lookBack(d time.Duration) func(*messages.WaitBranch) {
	return func(b *messages.WaitBranch) { b.SinceMs = d.Milliseconds() }
}

// awaits is a step that waits for an event whose key is its run's id, and returns the
// payload.
func awaits(timeout time.Duration, change ...func(*messages.WaitBranch)) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		recorded, err := a.Calls.RecordedCall(ctx, "event", "#0")
		if recorded == nil && err == nil {
			recorded, err = a.Calls.AwaitCall(ctx, forEvent(a.Dispatch.RunId, timeout, change...))
		}
		if err == nil && recorded.GetFailure() != nil {
			err = messages.FromFailure(recorded.GetFailure())
		}
		return recorded.GetOutput(), err
	}
}

// push publishes an event, and returns how many waits it has decided.
func (w *hostWorld) push(s *actorstest.Server, key, payload string) (int, []*api.FailedCondition) {
	w.T.Helper()
	delivered, err := s.Host.Engine().PublishEvent(w.T.Context(), journal.Event{ID: messages.NewEventID(), Key: key, Payload: []byte(payload)})
	if err != nil {
		w.T.Error(err)
		return 0, nil
	}
	return delivered(w.T.Context())
}

// waiting waits until the journal has n waits for events of the run.
func (w *hostWorld) waiting(id string, n int) {
	w.T.Helper()
	w.Within(10*time.Second, "run "+id+" waits", func() bool {
		waits, err := w.Store.Store.EventWaitsOf(w.T.Context(), id)
		return err == nil && len(waits) == n
	})
}

// Whatever is slow on either side of either commit, an event and a wait that looks back
// meet: 10,000 times, 100 of them at once.
func TestEventsAndWaitsMeet(t *testing.T) {
	const runs = 100
	pairs := 100
	if bubble.Race {
		pairs = 10
	}
	hostBubble(t, func(w *hostWorld) {
		key := func(run string, i int) string { return fmt.Sprintf("%s/%d", run, i) }
		var waits sync.Map // by run, the numbers of its waits as they begin
		def := w.Workflow("build", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			begins := make(chan int, pairs)
			waits.Store(a.Dispatch.RunId, begins)
			for i := range pairs {
				wait := forEvent(key(a.Dispatch.RunId, i), time.Hour, lookBack(time.Minute))
				wait.Key = fmt.Sprintf("#%d", i)
				begins <- i
				recorded, err := a.Calls.AwaitCall(ctx, wait)
				if err == nil && recorded.GetFailure() != nil {
					err = messages.FromFailure(recorded.GetFailure())
				}
				if err != nil {
					return nil, err
				}
			}
			return []byte("1"), nil
		})
		s := w.Server("s1")
		w.WorkerWith("w1", w.Network.Host("w1"), runs, def)
		var mu sync.Mutex
		dice := rand.New(rand.NewPCG(1, 2))
		pause := func(most time.Duration) {
			mu.Lock()
			d := time.Duration(dice.Int64N(int64(most)))
			mu.Unlock()
			time.Sleep(d)
		}
		w.Store.Before(func(method, _ string) error {
			switch method {
			case "Append", "Appended", "Publish", "Published", "EventWaits", "EventWaitsOf":
				pause(5 * time.Millisecond)
			}
			return nil
		})
		ids := w.Bulk(s, def, runs)
		var pushing sync.WaitGroup
		for _, id := range ids {
			pushing.Go(func() {
				w.Within(time.Minute, "run "+id+" begins", func() bool { _, ok := waits.Load(id); return ok })
				begins, _ := waits.Load(id)
				for i := range begins.(chan int) {
					pause(20 * time.Millisecond)
					w.push(s, key(id, i), `"x"`)
					if i == pairs-1 {
						return
					}
				}
			})
		}
		pushing.Wait()
		for _, id := range ids {
			w.Ends(s, id, time.Minute, succeeded)
		}
	})
}

// An event wakes a run that is not in memory, and says so; one that does not fit leaves it.
func TestEventWakesADormantRun(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, awaits(24*time.Hour, func(b *messages.WaitBranch) { b.Condition = "payload.n > 1" }))
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		w.Dormant(s, "r1")
		var loads atomic.Int32
		w.Store.Before(func(method, id string) error {
			if method == "Load" && id == "r1" {
				loads.Add(1)
			}
			return nil
		})
		for _, payload := range []string{`{"n":1}`, `{"m":1}`, `{"m":2}`} {
			n, failed := w.push(s, "r1", payload)
			w.Dormant(s, "r1")
			if n != 0 || (len(failed) == 1) != (payload != `{"n":1}`) {
				t.Errorf("%s: %d, %v", payload, n, failed)
			}
		}
		// The run was brought to memory for the first condition that could not be evaluated.
		if n := loads.Load(); n != 1 {
			t.Errorf("it was loaded %d times", n)
		}
		if got := w.History("r1"); strings.Count(got, "failedCondition") != 1 || !strings.Contains(got, "no such key: n") {
			t.Errorf("history: %s", got)
		}
		if n, failed := w.push(s, "r1", `{"n":2}`); n != 1 || len(failed) != 0 {
			t.Errorf("%d, %v", n, failed)
		}
		w.Ends(s, "r1", 10*time.Second, succeeded)
		if n, _ := w.push(s, "r1", `{"n":2}`); n != 0 {
			t.Error("a run that ended has the event")
		}
		w.waiting("r1", 0)
		if got := w.History("r1"); strings.Count(got, "callRecorded") != 1 {
			t.Errorf("history: %s", got)
		}
	})
}

// The publisher's server does not get to deliver what it has published: another look
// does, and what is delivered is not kept for ever.
func TestEventsAreDeliveredAfterTheirPublisherDied(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, awaits(24*time.Hour))
		s := w.StartServer("s1", w.Network.Host("s1"), server.HostConfig{EventsKept: 10 * time.Minute})
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		w.Dormant(s, "r1")
		var mu sync.Mutex
		broken := true
		w.Store.Before(func(method, patterns string) error {
			mu.Lock()
			defer mu.Unlock()
			if method == "EventWaits" && broken {
				return actorstest.ErrJournalDown
			}
			return nil
		})
		if n, _ := w.push(s, "r1", "1"); n != 0 {
			t.Errorf("it is delivered to %d", n)
		}
		time.Sleep(5 * time.Second)
		mu.Lock()
		broken = false
		mu.Unlock()
		w.Ends(s, "r1", 5*time.Second, succeeded)
		time.Sleep(15 * time.Minute)
		if kept, err := w.Store.Events(t.Context(), journal.EventFilter{}, 0, 10); err != nil || len(kept) > 0 {
			t.Errorf("kept are %v, %v", kept, err)
		}
	})
}

// A server that dies after a wait is stored, and before it was sought, leaves it to the
// next one.
func TestWaitsAreSoughtAfterTheirServerDied(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, awaits(24*time.Hour, lookBack(time.Minute)))
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		w.Worker("w1", def)
		id := w.ownedBy(s1)
		w.Store.Before(func(method, run string) error {
			if method == "EventWaitsOf" && run == id && s1.Host.Owns(id) {
				return actorstest.ErrJournalDown
			}
			return nil
		})
		w.push(s2, id, "1")
		time.Sleep(5 * time.Second)
		w.Start(s2, id, def)
		w.waiting(id, 1)
		time.Sleep(5 * time.Second)
		s1.Network.Freeze()
		w.First = s2
		w.Ends(s2, id, 30*time.Second, succeeded)
		s1.Network.Thaw()
	})
}

// What cannot be waited for is refused at once.
func TestWaitsForEventsAreChecked(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		var mu sync.Mutex
		var got []error
		def := w.Workflow("build", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			for i, change := range []func(*messages.WaitBranch){
				func(b *messages.WaitBranch) { b.Condition = "payload.(" },
				lookBack(2 * time.Hour),
				func(b *messages.WaitBranch) { b.EventKey = "" },
			} {
				wait := forEvent("k", time.Hour, change)
				wait.Key = fmt.Sprint(i)
				_, err := a.Calls.AwaitCall(ctx, wait)
				mu.Lock()
				got = append(got, err)
				mu.Unlock()
			}
			return []byte("1"), nil
		})
		s := w.Server("s1")
		w.Worker("w1", def)
		w.Start(s, "r1", def)
		w.Ends(s, "r1", 10*time.Second, succeeded)
		for i, says := range []string{`the condition "payload.(" is no CEL expression`, "looks back for 2h0m0s, but events are kept for 1h0m0s", "the key of the event is empty"} {
			if i >= len(got) || messages.CodeOf(got[i]) != messages.CodeInvalidArgument || !strings.Contains(got[i].Error(), says) {
				t.Errorf("%d: %v, want %s", i, got, says)
			}
		}
		w.waiting("r1", 0)
	})
}

// Many that wait for one event all have it.
func TestOneEventForManyRuns(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			call, err := a.Calls.AwaitCall(ctx, forEvent("every", time.Hour, func(b *messages.WaitBranch) { b.EventPrefix = true }))
			return call.GetOutput(), err
		})
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		const runs = 600
		w.WorkerWith("w1", w.Network.Host("w1"), runs, def)
		ids := w.Bulk(s1, def, runs)
		for _, id := range ids {
			w.waiting(id, 1)
		}
		if n, _ := w.push(s2, "every:one", "1"); n != runs {
			t.Errorf("%d of %d have it", n, runs)
		}
		for _, id := range ids {
			w.Ends(s1, id, 30*time.Second, succeeded)
		}
	})
}
