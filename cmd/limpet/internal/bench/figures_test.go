package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

func TestPercentiles(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	f := &Figures{}
	f.latencies(all)
	if f.P50Ms != 50 || f.P95Ms != 95 || f.P99Ms != 99 {
		t.Errorf("%+v", f)
	}
	if percentile(all[:1], 99) != 1 || percentile(nil, 50) != 0 {
		t.Error("few latencies")
	}
}

func TestExecutionsCountWhatTheStepsRecorded(t *testing.T) {
	f := &Figures{Workload: Chain3, Runs: 4}
	at := func(run, step, worker string) ledger.Execution {
		return ledger.Execution{Run: run, Step: step, Worker: worker}
	}
	f.executions([]ledger.Execution{
		at("warm", "first", "w3"),
		at("stays", "first", "w1"), at("stays", "second", "w1"), at("stays", "third", "w1"),
		at("moves", "first", "w1"), at("moves", "second", "w2"), at("moves", "third", "w2"),
		at("again", "first", "w1"), at("again", "first", "w1"), at("again", "second", "w1"), at("again", "third", "w1"),
		at("lacks", "first", "w2"), at("lacks", "second", "w2"),
	}, map[string]bool{"stays": true, "moves": true, "again": true, "lacks": true})
	if f.SameWorkerRatio != 0.75 || f.StepsRunTwice != 1 || f.StepsMissing != 1 {
		t.Errorf("%+v", f)
	}
}

func TestEveryFaultyFlagIsNamed(t *testing.T) {
	err := Config{Workload: "x", Sticky: "y", Store: "z", Workers: -1, Warmup: -1, Dir: "/no/such"}.Validate()
	if messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Fatal(err)
	}
	for _, flag := range []string{"--workload", "--sticky", "--store", "--runs", "--workers", "--slots", "--warmup", "--dir"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named: %v", flag, err)
		}
	}
}
