package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// handoffTimeout is when runs that have not begun or ended count as stuck.
const handoffTimeout = 2 * time.Minute

// handoff is a measurement of runs that leave draining workers, in progress.
type handoff struct {
	*rig
}

// Handoff measures how long runs take to go on elsewhere when half of the
// workers drain, all at once and all runs under way: once with state that is
// built anew, once with state that is handed off.
func Handoff(ctx context.Context, config Config) (*HandoffFigures, error) {
	c := config.withDefaults()
	f := &HandoffFigures{
		Workload: c.Workload, Store: c.Store, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots,
		BuildMs: movedBuild.Milliseconds(), StepMs: movedStep.Milliseconds(), Drained: c.Workers / 2,
	}
	err := on(ctx, config, flushEvery, c.workerNames(), func(r *rig) error {
		h := &handoff{rig: r}
		f.Limits = r.limits
		if err := h.measure(ctx, movedWorkflow(false, nil), &f.Rebuilt); err != nil {
			return err
		}
		return h.measure(ctx, movedWorkflow(true, nil), &f.HandedOff)
	})
	return f, err
}

// measure drains while all runs are in one of their first steps.
func (h *handoff) measure(ctx context.Context, w *sdk.Workflow[Input], into *Moving) error {
	ctx, cancel := context.WithTimeoutCause(ctx, handoffTimeout, messages.Errorf(messages.CodeDeadline, "the runs of %s have not ended after %s", w.Name(), handoffTimeout))
	defer cancel()
	h.progress.show("runs of %s begin", w.Name())
	before, begin := h.cluster.Executions(ctx), time.Now()
	ids, err := startAll(ctx, h.rig, w, make([]Input, h.config.Runs))
	if err != nil {
		return err
	}
	err = poll(ctx, 10*time.Millisecond, func() (bool, error) {
		return h.cluster.Executions(ctx)-before >= int64(3*len(ids)), nil
	})
	if err != nil {
		return err
	}
	h.progress.show("half of the workers drain")
	drained := h.config.workerNames()[:h.config.Workers/2]
	struck := time.Now()
	errs := make([]error, len(drained))
	var draining sync.WaitGroup
	for i, name := range drained {
		draining.Go(func() {
			_, errs[i] = h.client().DrainWorker(ctx, name, &sdk.DrainOptions{Deadline: handoffTimeout})
		})
	}
	draining.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := h.awaitAll(ctx, ids[len(ids)-1]); err != nil {
		return err
	}
	for _, name := range drained {
		if _, err := h.client().UndrainWorker(ctx, name); err != nil {
			return err
		}
	}
	return h.evaluate(ctx, w.Name(), begin, struck, set(ids), into)
}

func (h *handoff) evaluate(ctx context.Context, workflow string, begin, struck time.Time, runs map[string]bool, into *Moving) error {
	book, err := h.book(ctx)
	if err != nil {
		return err
	}
	into.count(book, struck, runs)
	into.RunsFailed = len(runs)
	into.ProcessesDied = int(h.died.Load())
	return h.list(ctx, workflow, begin, func(r *api.Run) {
		if runs[r.GetRunId()] && r.GetStatus() == sdk.Succeeded {
			into.RunsFailed--
		}
	})
}

// count takes from the ledgers what became of some runs.
func (m *Moving) count(book ledger.Book, struck time.Time, runs map[string]bool) {
	for _, v := range book.Values {
		switch {
		case !runs[v.Run]:
		case v.Received != "":
			m.StatesReceived++
		default:
			m.Builds++
		}
	}
	each := map[string][]ledger.Execution{}
	for _, x := range book.Executions {
		if runs[x.Run] {
			each[x.Run] = append(each[x.Run], x)
		}
	}
	var since, gaps []time.Duration
	for _, steps := range each {
		slices.SortFunc(steps, func(a, b ledger.Execution) int { return cmp.Or(a.Begin.Compare(b.Begin), cmp.Compare(a.Step, b.Step)) })
		m.StepsRunAgain += again(steps)
		i := slices.IndexFunc(steps, func(x ledger.Execution) bool { return x.Worker != steps[0].Worker })
		if i > 0 {
			since, gaps = append(since, steps[i].End.Sub(struck)), append(gaps, steps[i].End.Sub(steps[i-1].End))
		}
	}
	slices.Sort(since)
	slices.Sort(gaps)
	m.RunsMoved = len(since)
	m.SinceDrainP50Ms, m.SinceDrainP99Ms = percentile(since, 50), percentile(since, 99)
	m.MoveP50Ms, m.MoveP99Ms = percentile(gaps, 50), percentile(gaps, 99)
}

// HandoffFigures are the result of Handoff.
type HandoffFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`
	// Drained workers. BuildMs and StepMs are what a build and a step take.
	Drained int   `json:"workers_drained"`
	BuildMs int64 `json:"build_ms"`
	StepMs  int64 `json:"step_ms"`

	Rebuilt   Moving `json:"rebuilt"`
	HandedOff Moving `json:"handed_off"`

	*Limits
}

// Moving is what became of runs when half of their workers drained.
type Moving struct {
	RunsMoved int `json:"runs_moved"`
	// Builds of values, the first of each run with them; StatesReceived were
	// handed off instead.
	Builds         int `json:"builds"`
	StatesReceived int `json:"states_received"`
	// From the order to drain to the end of the first step on the new worker.
	SinceDrainP50Ms float64 `json:"since_drain_p50_ms"`
	SinceDrainP99Ms float64 `json:"since_drain_p99_ms"`
	// From the end of the last step on the old worker to that.
	MoveP50Ms float64 `json:"move_p50_ms"`
	MoveP99Ms float64 `json:"move_p99_ms"`
	// StepsRunAgain are executions beyond the first of a step: of attempts that
	// were lost, or of which the result was.
	StepsRunAgain int `json:"steps_run_again"`
	RunsFailed    int `json:"runs_failed"`
	ProcessesDied int `json:"processes_died"`
}

// Table shows the figures to eyes.
func (f *HandoffFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d SOFT runs on %d workers, %d of which drain; steps of %d ms, builds of %d ms; on %s, %d servers",
		f.Runs, f.Workers, f.Drained, f.StepMs, f.BuildMs, f.Store, f.Servers)
	way := func(name string, m Moving) {
		row(name, "%d runs moved   first step there ended after the drain p50 %.0f ms  p99 %.0f ms, after the step before p50 %.0f ms  p99 %.0f ms",
			m.RunsMoved, m.SinceDrainP50Ms, m.SinceDrainP99Ms, m.MoveP50Ms, m.MoveP99Ms)
		row("", "builds %d   states received %d   steps run again %d   runs failed %d", m.Builds, m.StatesReceived, m.StepsRunAgain, m.RunsFailed)
	}
	way("rebuilt", f.Rebuilt)
	way("handed off", f.HandedOff)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}

// again counts the executions beyond the first of each step of a run.
func again(executions []ledger.Execution) int {
	steps := map[stepKey]bool{}
	for _, x := range executions {
		steps[stepKey{x.Run, x.Step}] = true
	}
	return len(executions) - len(steps)
}
