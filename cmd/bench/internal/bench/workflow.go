package bench

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/sdk"
)

// Input of a run.
type Input struct {
	Number int `json:"number"`
	// Trial of a held run: its gate.
	Trial int `json:"trial,omitempty"`
	// SleepMs is how long each step of a paced run takes.
	SleepMs int `json:"sleep_ms,omitempty"`
	// Key of a keyed run.
	Key int `json:"key,omitempty"`
	// UntilMs is the moment that a run of SuspendedRuns waits for, in milliseconds since
	// the Unix epoch.
	UntilMs int64 `json:"until_ms,omitempty"`
}

// Output of a step.
type Output struct {
	Worker string `json:"worker"`
}

// workflowName tells the workloads and strategies apart: a worker serves all.
func workflowName(workload, sticky string) string { return "bench-" + workload + "-" + sticky }

// throughputs are the workloads of Throughput.
var throughputs = []string{Noop1, Chain3, Fan, StepCalls}

// workflowsWith makes the workflows of a worker process: every workload with
// every strategy, and those whose steps the gate holds.
func workflowsWith(g *gate) localcluster.Workflows {
	return func(l *ledger.Writer) []sdk.AnyWorkflow {
		all := []sdk.AnyWorkflow{pacedWorkflow(l), waitingWorkflow(l), keyedWorkflow(l), movedWorkflow(true, l), movedWorkflow(false, l)}
		for sticky := range stickies {
			for _, workload := range throughputs {
				all = append(all, workflow(workload, sticky, l))
			}
			all = append(all, heldWorkflow(sticky, g, l), signaledWorkflow(sticky, l), streamedWorkflow(sticky, l), suspendedWorkflow(sticky, l))
		}
		return all
	}
}

// newWorkflow is one of a workload whose runs wait as long as it takes.
func newWorkflow(workload, sticky string) *sdk.Workflow[Input] {
	return sdk.NewWorkflow[Input](workflowName(workload, sticky), patient(sticky))
}

// patient waits as long as it takes: patience is not what is measured, and a run that
// moved because its worker was busy would look like one that did not stick.
func patient(sticky string) sdk.WorkflowConfig {
	return sdk.WorkflowConfig{Sticky: stickies[sticky], BusyPatience: sdk.Never, ScheduleTimeout: sdk.Never, ExecutionTimeout: sdk.Never}
}

// recorded is a step that records in the ledger, and does more if there is
// more to do.
func recorded(l *ledger.Writer, more func(sdk.Context, Input) error) func(sdk.Context, Input) (Output, error) {
	return func(ctx sdk.Context, in Input) (Output, error) {
		n := l.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
		var err error
		if more != nil {
			err = more(ctx, in)
		}
		l.End(n, err != nil, "")
		return Output{Worker: ctx.WorkerID()}, err
	}
}

// workflow with steps that do nothing but record in the ledger.
func workflow(workload, sticky string, l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow(workload, sticky)
	step := recorded(l, nil)
	if workload == StepCalls {
		step = recorded(l, makeCalls)
	}
	first := sdk.AddStep(w, "first", step)
	switch workload {
	case Chain3:
		second := sdk.AddStep(w, "second", step, sdk.StepConfig{Parents: sdk.Steps(first)})
		sdk.AddStep(w, "third", step, sdk.StepConfig{Parents: sdk.Steps(second)})
	case Fan:
		other := sdk.AddStep(w, "other", step)
		sdk.AddStep(w, "join", step, sdk.StepConfig{Parents: sdk.Steps(first, other)})
	}
	return w
}

// callsPerRun is how many calls the step of StepCalls makes.
const callsPerRun = 10

// makeCalls makes calls of functions that do nothing.
func makeCalls(ctx sdk.Context, in Input) error {
	for range callsPerRun {
		if _, err := sdk.Do(ctx, "call", func(sdk.Context) (int, error) { return in.Number, nil }); err != nil {
			return err
		}
	}
	return nil
}

// signaledWorkflow waits for a message, and its step ends when it goes on.
func signaledWorkflow(sticky string, l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow(SignaledRuns, sticky)
	sdk.AddStep(w, "waits", recorded(l, func(ctx sdk.Context, _ Input) error {
		_, err := sdk.Receive[bool](ctx, goSignal)
		return err
	}))
	if stickies[sticky] != sdk.None {
		sdk.AddQuery(w, whereQuery, func(ctx sdk.QueryContext, _ int) (string, error) { return ctx.WorkerID(), nil })
	}
	return w
}

// heldStep of a held run is under way until its trial is released, or, on a
// second worker or incarnation, ends at once.
const heldStep = "held"

func heldWorkflow(sticky string, g *gate, l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow("held", sticky)
	held := sdk.AddStep(w, heldStep, recorded(l, func(ctx sdk.Context, in Input) error {
		if ctx.Binding().Epoch > 1 {
			return nil
		}
		return g.wait(ctx, in.Trial)
	}))
	sdk.AddStep(w, "after", recorded(l, nil), sdk.StepConfig{Parents: sdk.Steps(held)})
	return w
}

// pacedSteps of a paced run follow each other, each as long as its input says.
const pacedSteps = 6

func pacedWorkflow(l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow("paced", "soft")
	var before *sdk.Step[Input, Output]
	for i := range pacedSteps {
		var config sdk.StepConfig
		if before != nil {
			config.Parents = sdk.Steps(before)
		}
		before = sdk.AddStep(w, fmt.Sprintf("step-%d", i+1), recorded(l, func(ctx sdk.Context, in Input) error {
			return backoff.Sleep(ctx, time.Duration(in.SleepMs)*time.Millisecond)
		}), config)
	}
	return w
}

// waitingWorkflow binds its run by a first step; the second is under way until
// its worker dies, and ends at once on the next incarnation.
func waitingWorkflow(l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow(WaitingRuns, "hard")
	open := sdk.AddStep(w, "open", recorded(l, nil))
	sdk.AddStep(w, "use", recorded(l, func(ctx sdk.Context, _ Input) error {
		if ctx.Binding().Epoch > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}), sdk.StepConfig{Parents: sdk.Steps(open)})
	return w
}
