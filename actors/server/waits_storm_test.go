package server_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// waits is a function whose step makes one call, and ends when that is over.
func waits(call func() *messages.AwaitCall) attempt.Function {
	return func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
		recorded, err := a.Calls.RecordedCall(ctx, "wait", "#0")
		if recorded == nil && err == nil {
			wait := call()
			wait.Name, wait.Key = "wait", "#0"
			recorded, err = a.Calls.AwaitCall(ctx, wait)
		}
		if err == nil && recorded.GetFailure() != nil {
			err = messages.FromFailure(recorded.GetFailure())
		}
		return []byte("1"), err
	}
}

// until is a sleep until a moment of the wall clock.
func until(moment time.Time) *messages.AwaitCall {
	return &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_SLEEP, TimeoutMs: messages.WaitMsMax,
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_SLEEP, UntilWallUs: moment.UnixMicro()}}}
}

// countingStore counts the commits of entries, and the entries, by run, each of which takes
// its time.
type countingStore struct {
	journal.Store
	takes   atomic.Int64
	mu      sync.Mutex
	commits int
	entries map[string]int
}

func (s *countingStore) Append(ctx context.Context, batch []journal.Append) []error {
	s.mu.Lock()
	s.commits++
	for i := range batch {
		s.entries[batch[i].RunID]++
	}
	s.mu.Unlock()
	time.Sleep(time.Duration(s.takes.Load()))
	return s.Store.Append(ctx, batch)
}

// begin forgets what was counted before.
func (s *countingStore) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits, s.entries = 0, map[string]int{}
}

// Many runs wait for one moment, dormant, and the journal is slow: their times are due for
// as many searches as it takes. Each has one entry for its time and one for its end, in
// batches, and a run that is started meanwhile waits its turn among some of them, not
// behind all.
func TestTimersThatAreDueAtOnceMakeAnEntryEach(t *testing.T) {
	const runs, batch, commitTakes = 2 * server.PageSize, 50, 50 * time.Millisecond
	hostBubble(t, func(w *hostWorld) {
		moment := time.Now().Add(time.Minute)
		def := w.Workflow("build", none, waits(func() *messages.AwaitCall { return until(moment) }))
		small := w.Workflow("small", none, succeed)
		counted := &countingStore{Store: w.Store.Store, entries: map[string]int{}}
		w.Store.Store = counted
		w.Committer.MaxBatch = batch
		s := w.Server("s1")
		w.WorkerWith("w1", w.Network.Host("w1"), runs, def, small)
		ids := w.Bulk(s, def, runs)
		w.Within(50*time.Second, "all runs are dormant", func() bool { return s.Host.ActiveRuns() == 0 })
		counted.begin()
		counted.takes.Store(int64(commitTakes))
		time.Sleep(time.Until(moment))
		smalls, left := 0, ids
		for ; len(left) > 0; smalls++ {
			id := fmt.Sprint("small", smalls)
			w.Start(s, id, small)
			w.Ends(s, id, 10*time.Second, succeeded)
			for len(left) > 0 && w.Events(left[0])["*messages.Event_RunEnded"] == 1 {
				left = left[1:]
			}
		}
		counted.mu.Lock()
		defer counted.mu.Unlock()
		for _, id := range ids {
			if counted.entries[id] != 2 {
				t.Fatalf("run %s has %d entries since its time was due: %s", id, counted.entries[id], w.History(id))
			}
		}
		if most := 3 * runs / batch; counted.commits > most {
			t.Errorf("%d commits, want %d at most", counted.commits, most)
		}
		if smalls < 2 {
			t.Error("a run that is started meanwhile ends after all the others")
		}
	})
}

// Servers whose clocks are behind and ahead take the runs of one that is killed. Timers
// that are set in the change-over, before it and after it, all come at their moment, not
// earlier.
func TestTimersOfTheChangeOverToAnotherClock(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Second, 5 * time.Second} {
		t.Run(off.String(), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				const lasts = 20 * time.Second
				began := sync.Map{} // by run
				def := w.Workflow("build", none, nil)
				w.Functions["build"]["work"] = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
					began.LoadOrStore(a.Dispatch.RunId, time.Now())
					return waits(func() *messages.AwaitCall {
						return &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_SLEEP, TimeoutMs: messages.WaitMsMax,
							Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_SLEEP, SleepMs: lasts.Milliseconds()}}}
					})(ctx, a)
				}
				s1 := w.Server("s1")
				s2 := w.StartServer("s2", w.Network.Host("s2"), server.HostConfig{
					Clock: clock.New(clock.Config{Store: w.Store, Local: func() time.Time { return time.Now().Add(off) }})})
				w.Settled(s1, s2)
				w.First = s2
				w.WorkerWith("w1", w.Network.Host("w1"), 200, def)
				time.Sleep(time.Second)
				kills := w.Later(time.Second, s1.Kill)
				var ids []string
				for i := range 20 {
					id := fmt.Sprint("r", i)
					w.Start(s2, id, def)
					ids = append(ids, id)
					time.Sleep(100 * time.Millisecond)
				}
				kills()
				for _, id := range ids {
					w.Ends(s2, id, time.Minute, succeeded)
					at, _ := began.Load(id)
					record, err := w.Store.Store.Load(t.Context(), id)
					if err != nil {
						t.Fatal(err)
					}
					last := new(messages.Entry)
					if err := proto.Unmarshal(record.Entries[len(record.Entries)-1], last); err != nil {
						t.Fatal(err)
					}
					// What the call's entry takes, and what finding another server does.
					if slept := time.UnixMicro(last.AtUs).Sub(at.(time.Time)); slept < lasts-10*time.Millisecond || slept > lasts+8*time.Second {
						t.Errorf("run %s slept for %v: %s", id, slept, w.History(id))
					}
				}
			})
		})
	}
}

// A message comes before or after each of the entries that a run makes until its step is
// suspended, and at each moment around the worker's wish: the step always goes on with it.
func TestAMessageAtEachStageOfASuspension(t *testing.T) {
	for _, method := range []string{"Append", "Appended"} {
		for entry, more := 1, true; more; entry++ {
			more = false
			t.Run(fmt.Sprintf("%s %d", method, entry), func(t *testing.T) {
				more = signalAt(t, method, entry, 0)
			})
		}
	}
	for after := range 5 {
		t.Run(fmt.Sprintf("%d ms after the wait", after), func(t *testing.T) {
			signalAt(t, "Appended", 2, time.Duration(after)*time.Millisecond)
		})
	}
}

// signalAt sends a message to a run at an entry of it, and says whether it has made so many
// before it had any.
func signalAt(t *testing.T, method string, entry int, later time.Duration) bool {
	var made atomic.Bool
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, waits(func() *messages.AwaitCall {
			return &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_RECEIVE, TimeoutMs: time.Hour.Milliseconds(),
				Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: "ok"}}}
		}))
		def.KeepForMs = messages.KeepNotAtAllMs
		s := w.Server("s1")
		w.Worker("w1", def)
		time.Sleep(time.Second)
		sent := make(chan error, 1)
		var n atomic.Int32
		w.Store.Before(func(m, run string) error {
			if m == method && run == "r1" && int(n.Add(1)) == entry {
				made.Store(true)
				time.AfterFunc(later, func() {
					sent <- s.Host.Engine().SignalRun(context.Background(), &messages.SignalRun{RunId: "r1", Name: "ok", MessageId: "m", Payload: []byte("1")})
				})
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		w.Start(s, "r1", def)
		time.Sleep(10 * time.Second)
		if !made.Load() {
			return // It is suspended, and makes no entry any more.
		}
		if err := <-sent; err != nil && entry > 1 {
			t.Fatal(err)
		}
		w.Ends(s, "r1", time.Second, succeeded)
	})
	return made.Load()
}
