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
// # Calls
//
// What a step did once it need not do again. Do calls a function and keeps its
// result: after a failure of the step, the loss of its worker or a restart, the step
// begins again and gets from each Do what was recorded.
//
//	agent := sdk.AddStep(w, "agent", func(ctx sdk.Context, in Task) (Answer, error) {
//		talk := in.Prompt
//		for {
//			reply, err := sdk.Do(ctx, "think", func(ctx sdk.Context) (Reply, error) { return model.Ask(ctx, talk) })
//			if err != nil || reply.Done {
//				return reply.Answer, err
//			}
//			talk += reply.Text
//		}
//	})
//
// A run has a mailbox. Run.Signal, or `limpet run signal`, puts a message into it
// that Receive takes, whether it was sent before or after the step asked. A step that
// waits holds no slot.
//
// # Limits
//
// Each is named, with its value, in the error that it causes.
//
//	PayloadBytesMax             1 MiB       input of a run, input and output of a step, result of a call, payload of an event or a signal
//	StepInputBytesMax           16 MiB      input of a run and outputs of a step's parents together
//	DocumentDepthMax            1,000       arrays and objects within each other in an input
//	CheckCostMax                10,000,000  work of checking an input against its schema
//	RunDispatchBytesMax         4 MiB       what a run has on the way to workers; more is sent once they have answered
//	RunQuestionsMax             64          questions of a run for a worker that are not answered yet
//	RunQueueBytesMax            32 MiB      what a run keeps of what it is told while the journal is out of reach
//	ServerQueueBytesMax         256 MiB     the same of all runs of a server
//	WorkerResultsBytesMax       64 MiB      results that a worker keeps; beyond it begins nothing new until some are recorded
//	PeerQueueBytesMax           256 MiB     what waits on a process for a connection to another
//	RelaysMax                   1,024       connections between others that a server passes on while they do not reach each other
//	RequestBytesMax             64 MiB      a request of the API
//	BulkRunsMax                 10,000      runs of one StartRuns call
//	AttemptsMax                 10,000      attempts of a run
//	CallsMax                    10,000      durable calls of a step, over all its attempts
//	SignalsMax                  10,000      messages of a run that were not received
//	WaitMsMax                   31,536,000,000  milliseconds of a wait of a call: a year
//	MetadataMax                 64          entries of a run's metadata
//	MetadataBytesMax            16 KiB      keys and values of a run's metadata
//	KeyBytesMax                 256 bytes   idempotency key, event id, message id, key of a spawn or of a call: printable UTF-8
//	NameBytesMax                128 bytes   names: A-Z a-z 0-9 . _ : / -
//	ReasonBytesMax              1 KiB       reason of a cancel
//	PageSizeMax                 1,000       runs of a page of a listing
//	PageTokenBytesMax           1 KiB       token of a page
//	StatusesMax                 16          statuses that a listing asks for
//	FailureMessageBytesMax      16 KiB      message of a step's failure; the rest is cut off
//	FailureStackBytesMax        64 KiB      stack of a step's panic; the rest is cut off
//	StepsMax                    1,000       steps of a workflow
//	LocalsMax                   32          kinds of local state of a workflow
//	OnEventsMax                 100         event keys of a workflow
//	LabelRulesMax               100         label rules of a workflow, and of a step
//	LabelWeightMax              1,000       weight of a preferred label rule
//	LabelValueBytesMax          256 bytes   value of a label
//	DurationMsMax               315,360,000,000  milliseconds of a timeout, a back-off, a patience: ten years
//	DefinitionBytesMax          256 KiB     definition of a workflow, its input schema included
//	NodesMax                    10,000      schemas within an input schema
//	DepthMax                    100         schemas within each other in an input schema
//	WorkflowsMax                1,000       workflows of a worker
//	SlotsMax                    100,000     slots of a worker
//	LabelsMax                   100         labels of a worker
//	LocalKeyBytesMax            256 bytes   key of a shared local value: any bytes
//	HeldKeysMax                 4,096       keys of shared local values that placement knows of a worker
//	HandoffBytesMax             1 MiB       what the local state of a run is handed off as
//
// # Inside
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
// Imports only messages, messages/api, actors/attempt, actors/usercode,
// cluster/backoff, cluster/inquire and sdk/internal/parts.
package sdk
