package bench

import (
	"context"
	"errors"
	"fmt"
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
	for _, tc := range []struct {
		config Config
		names  []string
	}{
		{Config{Workload: "x", Sticky: "y", Store: "z", Failover: "v", Runs: -1, Workers: -1, Slots: -1, Trials: -1, Servers: -1, Warmup: -1, Dir: "/no/such"},
			[]string{"--workload", "--sticky", "--store", "--failover", "--runs", "--workers", "--slots", "--trials", "--servers", "--warmup", "--dir"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "sqlite", Servers: 2}, []string{"--servers 2", "sqlite", "postgres"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "memory", Servers: 3}, []string{"--servers 3", "memory", "postgres"}},
		{Config{Workload: WaitingRuns, Sticky: "hard", Store: "sqlite", Failover: WorkerKill}, []string{"--failover", "--workload"}},
		{Config{Workload: WaitingRuns, Sticky: "hard", Store: "sqlite", Sequential: true}, []string{"--sequential"}},
		{Config{Workload: SignaledRuns, Sticky: "hard", Store: "sqlite", Sequential: true}, []string{"--sequential"}},
		{Config{Workload: SignaledRuns, Sticky: "hard", Store: "sqlite", Failover: WorkerKill}, []string{"--failover"}},
		{Config{Workload: StreamedRuns, Sticky: "soft", Store: "sqlite", Runs: 500}, []string{"slots"}},
		{Config{Workload: AskedRuns, Sticky: "none", Store: "sqlite"}, []string{"--sticky"}},
		{Config{Workload: SuspendedRuns, Sticky: "soft", Store: "sqlite", Sequential: true}, []string{"--sequential"}},
		{Config{Workload: SuspendedRuns, Sticky: "soft", Store: "sqlite", Failover: WorkerKill}, []string{"--failover"}},
		{Config{Workload: WaitingRuns, Sticky: "hard", Store: "sqlite", Slots: 10, Workers: 1}, []string{"slots"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "memory", Failover: ServerKill}, []string{"--store memory"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "sqlite", Failover: WorkerStop, Workers: 1}, []string{"--workers"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "sqlite", Failover: HardRestart, Slots: 1}, []string{"slots"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "sqlite", Failover: HardRestart, Sequential: true}, []string{"--sequential"}},
		{Config{Workload: Chain3, Sticky: "soft", Store: "sqlite", Failover: HardRestart, Runs: 100_000}, []string{"--runs"}},
	} {
		err := tc.config.Validate()
		if messages.CodeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%+v: %v", tc.config, err)
			continue
		}
		if _, err := Run(t.Context(), tc.config); messages.CodeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%+v was run: %v", tc.config, err)
		}
		for _, name := range tc.names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s is not named: %v", name, err)
			}
		}
	}
}

func TestDefaultsFitWhatIsMeasured(t *testing.T) {
	for _, tc := range []struct {
		config               Config
		runs, workers, slots int
	}{
		{Config{Workload: Chain3}, 20_000, 2, 100},
		{Config{Workload: Chain3, Failover: WorkerKill}, 200, 2, 200},
		{Config{Workload: Chain3, Failover: ServerKill}, 1000, 2, 1000},
		{Config{Workload: WaitingRuns}, 1_000_000, 20, 50_000},
		{Config{Workload: WaitingRuns, Runs: 10, Workers: 3}, 10, 3, 4},
	} {
		tc.config.Sticky, tc.config.Store = "hard", "sqlite"
		if err := tc.config.Validate(); err != nil {
			t.Errorf("%+v: %v", tc.config, err)
		}
		c := tc.config.withDefaults()
		if c.Runs != tc.runs || c.Workers != tc.workers || c.Slots != tc.slots || c.Servers != 1 || c.Trials != 5 {
			t.Errorf("%+v", c)
		}
		all := 0
		for i := range c.Workers {
			all += c.share(i)
		}
		if all != c.Runs {
			t.Errorf("the workers' shares of %d runs are %d", c.Runs, all)
		}
	}
}

// at is an execution between two seconds; an end of 0 is none.
func at(run, step string, process int, begin, end float64) ledger.Execution {
	moment := func(s float64) time.Time {
		if s == 0 {
			return time.Time{}
		}
		return time.UnixMilli(int64(s * 1000))
	}
	return ledger.Execution{Run: run, Step: step, Worker: fmt.Sprintf("w%d", process), Process: process, Begin: moment(begin), End: moment(end)}
}

func byStep(all ...ledger.Execution) map[stepKey][]ledger.Execution {
	steps := map[stepKey][]ledger.Execution{}
	for _, x := range all {
		key := stepKey{x.Run, x.Step}
		steps[key] = append(steps[key], x)
	}
	return steps
}

func TestLostStepsAreThoseUnderWay(t *testing.T) {
	before := byStep(at("a", "held", 1, 1, 0), at("b", "held", 1, 1, 2), at("c", "held", 1, 1, 9), at("d", "held", 2, 1, 0))
	if worker, process := busiest(before); worker != "w1" || process != 1 {
		t.Error(worker, process)
	}
	lost := lostSteps(before, 1, time.UnixMilli(5000))
	if len(lost) != 2 || !lost[stepKey{"a", "held"}] || !lost[stepKey{"c", "held"}] {
		t.Errorf("%v", lost)
	}
	var trial Trial
	trial.restarted(lost, byStep(at("a", "held", 1, 1, 0), at("a", "held", 2, 6.5, 7), at("c", "held", 1, 1, 9)), time.UnixMilli(5000))
	if trial.StepsLeft != 1 || trial.RecoveryS != trialTimeout.Seconds() || trial.FirstS != 1.5 {
		t.Errorf("one step did not begin again: %+v", trial)
	}
	after := byStep(at("a", "held", 1, 1, 0), at("a", "held", 2, 6.5, 7), at("c", "held", 1, 1, 9), at("c", "held", 2, 7, 8),
		at("d", "held", 2, 1, 0), at("d", "held", 1, 7, 8))
	trial.restarted(lost, after, time.UnixMilli(5000))
	if trial.StepsLeft != 0 || trial.RecoveryS != 2 || trial.FirstS != 1.5 {
		t.Errorf("%+v", trial)
	}
	if n := runTwice(after, lost); n != 1 {
		t.Errorf("%d steps ran twice although their worker lived, want 1: the one of d", n)
	}
}

func TestRunsStandStillBetweenTheirSteps(t *testing.T) {
	run := func(id string, begins ...float64) (all []ledger.Execution) {
		for i, begin := range begins {
			all = append(all, at(id, fmt.Sprintf("step-%d", i+1), 1, begin, begin+0.5))
		}
		return all
	}
	struck := time.UnixMilli(3000)
	// The first goes on 2 s after the fault; the second's step ends 0.25 s after
	// it and the next begins at 5; the third was over by then.
	all := append(run("a", 1, 2, 5, 5.5, 6, 6.5), run("b", 1.75, 2.75, 5, 5.5, 6, 6.5)...)
	all = append(all, run("c", 0.25, 0.5, 1, 1.5, 2, 2.5)...)
	var trial Trial
	trial.stoodStill(byStep(all...), struck)
	if trial.RunsInMotion != 2 || trial.StepsLeft != 0 || trial.RecoveryS != 2 || trial.FirstS != 1.75 {
		t.Errorf("%+v", trial)
	}
	trial = Trial{}
	trial.stoodStill(byStep(run("a", 1, 2)...), struck)
	if trial.StepsLeft != 4 || trial.RecoveryS != trialTimeout.Seconds() {
		t.Errorf("a run that is stuck: %+v", trial)
	}
}

func TestTheMedianOfTheTrials(t *testing.T) {
	var f FailoverFigures
	for _, s := range []float64{5, 1, 4, 2, 3} {
		f.add(Trial{RecoveryS: s, StepsRunTwice: 1, RunsLost: 2})
	}
	if f.Trials != 5 || f.RecoveryS != 3 || f.RecoverySMax != 5 || f.StepsRunTwice != 5 || f.RunsLost != 10 {
		t.Errorf("%+v", f)
	}
}

func TestTheGateOpensForItsTrial(t *testing.T) {
	g := newGate()
	passed := make(chan error, 1)
	go func() { passed <- g.wait(t.Context(), 2) }()
	g.release(1)
	select {
	case err := <-passed:
		t.Fatalf("the gate of trial 2 is open after trial 1: %v", err)
	default:
	}
	g.release(2)
	if err := <-passed; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.wait(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
