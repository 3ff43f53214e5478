package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// fan is a workflow of so many steps without parents, each of which takes a second,
// or a bit more, each another bit: slots get free one by one, and not together.
func (w *hostWorld) fan(sticky messages.Sticky, steps int, bit time.Duration) *messages.WorkflowDefinition {
	def := &messages.WorkflowDefinition{Name: "fan", Sticky: sticky}
	w.Functions["fan"] = map[string]attempt.Function{}
	for i := range steps {
		st := &messages.StepDefinition{Name: fmt.Sprintf("s%d", i)}
		def.Steps = append(def.Steps, st)
		w.Functions["fan"][st.Name] = func(context.Context, *attempt.Attempt) ([]byte, error) {
			time.Sleep(time.Second + time.Duration(i%7)*bit)
			return []byte("1"), nil
		}
	}
	return def
}

// liveMost is the greatest number of attempts of a run that were live at one time.
func (w *hostWorld) liveMost(id string, def *messages.WorkflowDefinition) int {
	w.T.Helper()
	record, err := w.Store.Store.Load(w.T.Context(), id)
	if err != nil {
		w.T.Fatal(err)
	}
	most := 0
	for n := range record.Entries {
		st, err := run.Fold(id, def, record.Entries[:n+1])
		if err != nil {
			w.T.Fatal(err)
		}
		live := 0
		for i := range st.Steps {
			if st.Steps[i].Phase == run.Live {
				live++
			}
		}
		most = max(most, live)
	}
	return most
}

// A run with many more roots than its worker has slots leaves room for others: what
// is started meanwhile on the same worker waits for one of its steps, not for all.
func TestHostDoesNotLetOneRunTakeAWorker(t *testing.T) {
	for i, sticky := range []messages.Sticky{soft, hard, none, soft, hard, none} {
		bit := time.Duration(i/3) * 37 * time.Millisecond
		t.Run(fmt.Sprintf("%s, %v apart", sticky, bit), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				fan, small := w.fan(sticky, 60, bit), w.Workflow("small", soft, succeed)
				s := w.Server("s1")
				w.WorkerWith("w1", w.Network.Host("w1"), 2, fan, small)
				w.Start(s, "big", fan)
				time.Sleep(1500 * time.Millisecond)
				for i := range 10 {
					id := fmt.Sprintf("small%d", i)
					w.Start(s, id, small)
					w.Ends(s, id, 2500*time.Millisecond, succeeded)
				}
				w.Ends(s, "big", time.Minute, succeeded)
				if n := w.liveMost("big", fan); n != 2 {
					t.Errorf("%d attempts of it were live at once, the worker has 2 slots", n)
				}
			})
		})
	}
}

// A server that takes such a run up sends no more than the one before.
func TestHostTakesUpARunWithMoreRootsThanSlots(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		fan := w.fan(hard, 20, 0)
		first, second := w.Server("s1"), w.Server("s2")
		w.Settled(first, second)
		w.WorkerWith("w1", w.Network.Host("w1"), 2, fan)
		big := w.ownedBy(first)
		w.Start(first, big, fan)
		time.Sleep(2500 * time.Millisecond)
		first.Kill()
		w.Ends(second, big, time.Minute, succeeded)
		if n := w.liveMost(big, fan); n != 2 {
			t.Errorf("%d attempts of it were live at once, the worker has 2 slots", n)
		}
		if n := w.Events(big); n["*messages.Event_StepDispatched"] != 20 {
			t.Errorf("%v: %s", n, w.History(big))
		}
	})
}

// A large input goes to a worker once for the attempts that are there together, and
// each of them has the whole of it.
func TestHostSendsALargeInputOnce(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		input := fmt.Appendf(nil, "%q", strings.Repeat("x", 20_000))
		fan := w.fan(soft, 20, 0)
		var whole, shared atomic.Int32
		for i, st := range fan.Steps {
			f := w.Functions["fan"][st.Name]
			w.Functions["fan"][st.Name] = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
				if string(a.Dispatch.Input) == string(input) {
					whole.Add(1)
				}
				if a.Dispatch.InputShared {
					shared.Add(1)
				}
				out, err := f(ctx, a)
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				return out, err
			}
		}
		s := w.Server("s1")
		w.WorkerWith("w1", w.Network.Host("w1"), 4, fan)
		start := actorstest.StartOf("big", fan)
		start.Start.Input = input
		if _, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{start}); err != nil {
			w.T.Fatal(err)
		}
		w.Ends(s, "big", time.Minute, succeeded)
		// The first comes with it.
		if n := whole.Load(); n != 20 {
			t.Errorf("%d of 20 steps had the whole input", n)
		}
		if n := shared.Load(); n != 19 {
			t.Errorf("%d of 20 steps came without an input of their own, want 19", n)
		}
	})
}
