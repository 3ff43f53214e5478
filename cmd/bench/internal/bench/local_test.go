package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
)

// TestKeyed places a few runs in both ways.
func TestKeyed(t *testing.T) {
	c := small(t, Config{Workload: KeyedRuns, Store: "memory", Runs: 60, Slots: 20})
	f, err := Keyed(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Keying{f.Held, f.LeastLoad} {
		if k.Builds < f.BuildsLeast || k.Builds > 60 || k.LoadMaxByMean < 1 || k.LoadMaxByMean > 2 || k.RunsFailed != 0 || k.StepsRunAgain != 0 || k.P50Ms < 100 {
			t.Errorf("%+v", f)
		}
	}
	if f.Held.Builds > f.LeastLoad.Builds || f.BuildsRandom < float64(f.BuildsLeast) {
		t.Errorf("%+v", f)
	}
	inJSON(t, f)
	t.Log("\n" + f.Table())
}

// TestHandoff drains one of two workers.
func TestHandoff(t *testing.T) {
	c := small(t, Config{Workload: HandoffRuns, Store: "memory", Runs: 10})
	f, err := Handoff(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []Moving{f.Rebuilt, f.HandedOff} {
		if m.RunsMoved == 0 || m.RunsMoved > 10 || m.RunsFailed != 0 || m.StepsRunAgain != 0 || m.MoveP50Ms < 100 {
			t.Errorf("%+v", f)
		}
	}
	if f.Rebuilt.Builds != 10+f.Rebuilt.RunsMoved || f.HandedOff.Builds != 10 || f.HandedOff.StatesReceived != f.HandedOff.RunsMoved {
		t.Errorf("%+v", f)
	}
	t.Log("\n" + f.Table())
}

func TestBuildsByChance(t *testing.T) {
	if n := buildsByChance([]int{1, 1, 1, 2}, 1); n != 2 {
		t.Errorf("%v builds on one worker", n)
	}
	// Of two runs with one key the second finds it on every other worker.
	if n := buildsByChance([]int{1, 1}, 2); n < 1.3 || n > 1.7 {
		t.Errorf("%v builds on two workers", n)
	}
}

func TestMovesAreCountedFromTheLedgers(t *testing.T) {
	struck := time.UnixMilli(1000)
	at := func(run, worker string, from, to int64) ledger.Execution {
		return ledger.Execution{Run: run, Worker: worker, Step: fmt.Sprint(from), Attempt: 1, Begin: time.UnixMilli(from), End: time.UnixMilli(to)}
	}
	m := Moving{}
	m.count(ledger.Book{
		Values: []ledger.Value{{Run: "a"}, {Run: "a", Received: "state"}, {Run: "b"}, {Run: "warm"}},
		Executions: []ledger.Execution{
			at("a", "w1", 900, 1010), at("a", "w2", 1030, 1150), at("b", "w2", 900, 1020), at("warm", "w1", 1, 2), at("warm", "w2", 3, 4),
		},
	}, struck, map[string]bool{"a": true, "b": true})
	if m.Builds != 2 || m.StatesReceived != 1 || m.RunsMoved != 1 || m.SinceDrainP50Ms != 150 || m.MoveP50Ms != 140 {
		t.Errorf("%+v", m)
	}
}
