// Package sdk is how programs use Limpet: define workflows as plain Go values,
// serve them from worker processes (package worker beside this one), and start
// and follow runs as a client.
//
// A workflow is a named graph of steps; a step is a typed function. All steps
// of a sticky run execute on the one worker that the run is bound to, so that
// they can share what lives in its process: Soft moves the run when the worker
// is lost, Hard waits for the worker to come back.
//
//	index := sdk.NewWorkflow[Corpus]("index-and-ask", sdk.WorkflowConfig{Sticky: sdk.Soft})
//	load := sdk.AddStep(index, "load", func(ctx sdk.Context, in Corpus) (Loaded, error) { … })
//	ask := sdk.AddStep(index, "ask", func(ctx sdk.Context, in Corpus) (Answer, error) {
//		loaded, err := load.Output(ctx)
//		…
//	}, sdk.StepConfig{Parents: sdk.Steps(load)})
//
//	w, err := worker.New(worker.Config{ID: "gpu-1", Join: []string{…}}, index)
//	err = w.Run(ctx)
//
//	c, err := sdk.NewClient(sdk.ClientConfig{Address: "127.0.0.1:7080"})
//	run, err := index.Start(ctx, c, Corpus{…})
//	answer, err := ask.Result(ctx, run)
//
// Data flow: Workflow → Definition (what the cluster keeps) and Functions (what
// the worker actor calls) · Dispatch → input and parents' outputs decoded →
// step function → output encoded → Result · Client → Connect API → Run.
//
// Inputs and outputs travel as JSON. Mistakes in a definition are gathered and
// reported all at once by Validate and by worker.New, never by a panic.
//
// Invariants: a step function is only called with an input that decoded; what
// user code returns reaches the run as USER_ERROR; the key of a spawn depends
// on the order of spawns in the step alone; a call of the client is sent again
// only if that cannot do its work twice.
//
// Imports only messages, messages/api, actors/attempt and cluster/backoff.
package sdk
