package bench

import (
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/sdk"
)

// Input of a run.
type Input struct {
	Number int `json:"number"`
}

// Output of a step.
type Output struct {
	Worker string `json:"worker"`
}

// workflowName tells the workloads and strategies apart: a worker serves all.
func workflowName(workload, sticky string) string { return "bench-" + workload + "-" + sticky }

// Workflows makes the workflows of a worker process: every workload with every
// strategy.
func Workflows(l *ledger.Writer) []sdk.AnyWorkflow {
	var all []sdk.AnyWorkflow
	for _, workload := range workloads {
		for sticky := range stickies {
			all = append(all, workflow(workload, sticky, l))
		}
	}
	return all
}

// workflow with steps that do nothing but record in the ledger.
func workflow(workload, sticky string, l *ledger.Writer) *sdk.Workflow[Input] {
	// Never: patience is not what is measured, and a run that moved because
	// its worker was busy would look like one that did not stick.
	w := sdk.NewWorkflow[Input](workflowName(workload, sticky), sdk.WorkflowConfig{
		Sticky: stickies[sticky], BusyPatience: sdk.Never, ScheduleTimeout: sdk.Never,
	})
	step := func(ctx sdk.Context, _ Input) (Output, error) {
		n := l.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
		l.End(n, false, "")
		return Output{Worker: ctx.WorkerID()}, nil
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
