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
// A run has a mailbox. Run.Signal, or `limpet run signal`, puts a message into it, and
// SignalRun does so from a step of another run; Start with a Signal, or StartOrSignal in a
// step, starts the run if it is not there. Receive takes the oldest message of a
// name, whether it was sent before or after the step asked. WaitEvent waits for an event
// of the cluster, which Client.PushEvent pushes.
//
// Receive, WaitEvent, Sleep, SleepUntil and Child.Wait wait for one thing, First for the
// first of several, All for all of them. What came is on record as the result of a Do is:
// a step that begins again gets it again, and a sleep ends when it was to end first.
//
//	approval, tomorrow := sdk.OnSignal[Approval]("approval"), sdk.OnSleep(24*time.Hour)
//	came, err := sdk.First(ctx, "decision", nil, approval, tomorrow)
//	if err == nil && came == approval {
//		return order(approval.Value())
//	}
//
// One entry of the run's history decides a wait. What lost in it is gone: a message stays
// in the mailbox for whoever asks next, and no time wakes anybody.
//
// A step that waits holds no slot. It stays on its worker, with the local state of the
// run, for the KeepFor of the workflow, and goes on where it stands. After that it is
// suspended: it lives nowhere, and begins again when what it waits for has come.
//
// # Progress
//
// Context.Progress says how far a step is, as often as it likes. The newest is shown to
// people, and the next attempt of the step gets it by LastProgress:
//
//	next, _, err := sdk.LastProgress[int](ctx)
//	for ; err == nil && next < len(pages); next++ {
//		if err = load(ctx, pages[next]); err == nil {
//			err = ctx.Progress(next + 1)
//		}
//	}
//
// It may be told again what it had done: progress is recorded now and then, not with
// each call. What must not be done twice is for Do.
//
// # The end of a run, and going on
//
// OnEnd adds a step that tidies up: it is executed once the outcome of a run is decided,
// however it came out, where the run's local state still is. It changes nothing of the
// outcome.
//
//	sdk.OnEnd(w, "give-back", func(ctx sdk.Context, in Job, end sdk.End) error {
//		return rental.GiveBack(ctx, ctx.RunID())
//	})
//
// A run that has no end, such as a conversation of weeks, goes on as new from time to
// time: ContinueAs begins all its steps again with another input, where the run is bound.
// Its messages and its local state stay; its calls and attempts begin afresh.
//
// # Streams
//
// Context.Stream is for what others are to read while a step goes on: the tokens of an
// answer, a log. It is an io.Writer; Run.ReadStream, `limpet run stream` and the API read
// it from any place, while it is written and afterwards:
//
//	answer := ctx.Stream("answer")
//	for token := range model.Stream(ctx, prompt) {
//		if _, err := answer.WriteString(token); err != nil {
//			return "", err
//		}
//	}
//
// A retried step writes again, in a section of its own, and readers see where that
// begins. Within a Do it is written once. A run that goes on as new has its streams still,
// and their limit.
//
// # Live state
//
// AddQuery gives a workflow a question to the local state of its runs. It is answered on
// the worker that the run is bound to, beside the steps, and leaves nothing in the
// history. Local.Peek looks at local state and never builds it.
//
//	where := sdk.AddQuery(w, "where", func(ctx sdk.QueryContext, _ struct{}) (string, error) {
//		tab, err := browser.Peek(ctx)
//		if err != nil {
//			return "", err
//		}
//		return tab.URL(), nil
//	})
//	url, err := where.Ask(ctx, run, struct{}{})
//
// If there is no answer the error says at once why: ErrNotBound, ErrWorkerAway,
// ErrStateNotThere and others. See Query.Ask.
//
// # Limits
//
// Each is named, with its value, in the error that it causes.
//
//	PayloadBytesMax             1 MiB       input of a run, input and output of a step, result of a call, payload of an event or a signal, argument and answer of a query
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
//	BranchesMax                 1000        things that First or All wait for at once
//	ConditionBytesMax           4 KiB       condition of a call that waits for an event
//	SignalsMax                  10,000      messages of a run that were not received
//	WaitMsMax                   31,536,000,000  milliseconds of a wait of a call: a year
//	ProgressBytesMax            64 KiB      progress that a step tells
//	LogLinesMax                 1000        lines that are kept of what an attempt logs
//	LogBytesMax                 256 KiB     those lines
//	LogLineBytesMax             8 KiB       a line, and its attributes; the rest is cut
//	LogRunBytesMax              16 MiB      logs of a run; the oldest go
//	LogQueueBytesMax            16 MiB      logs that wait at a worker, or a server, to be stored
//	LogSendBytesMax             1 MiB       logs that a worker sends at once
//	StreamsMax                  100         streams of a run
//	StreamPieceBytesMax         1 MiB       one piece of a stream
//	StreamBytesMax              16 MiB      streams of a run; --stream-bytes-max of the servers sets another limit
//	StreamPiecesMax             1,000,000   pieces of the streams of a run
//	StreamBufferBytesMax        1 MiB       what an attempt has written to a stream and is not stored yet
//	StreamQueueBytesMax         64 MiB      what a server holds of streams until it is stored
//	QueriesOfWorkflowMax        100         queries of a workflow
//	QueriesMax                  16          queries that a worker executes at once; others wait
//	QueriesOfRunMax             4           those of one run among them
//	QueriesWaitingMax           1,024       queries that wait for a place at a worker
//	QueriesOfRunWaitingMax      64          queries of a run that a worker has not answered yet
//	QueryTimeoutMsMax           60,000      milliseconds that a query may take
//	MetadataMax                 64          entries of a run's metadata
//	MetadataBytesMax            16 KiB      keys and values of a run's metadata
//	KeyBytesMax                 256 bytes   idempotency key, event id, message id, key of a spawn or of a call: printable UTF-8
//	NameBytesMax                128 bytes   names: A-Z a-z 0-9 . _ : / -
//	ReasonBytesMax              1 KiB       reason of a cancel
//	PageSizeMax                 1,000       runs of a page of a listing
//	RunsCountedMax              10,000      runs of one kind that are counted; of more it is said that there are
//	NewsMax                     10,000      things that happened that a server keeps for who watches the cluster
//	PositionBytesMax            16 KiB      a place in what is watched
//	WorkerEventsMax             20,000      events of workers that a server keeps, the newest
//	EventsOfWorkerMax           200         of them of one worker that are shown
//	PageTokenBytesMax           1 KiB       token of a page
//	StatusesMax                 16          statuses that a listing asks for
//	TokensMax                   1,000       tokens of the API that are not revoked
//	AuditRecordsMax             1,000,000   records of the audit log, which are kept for 90 days
//	TopicsMax                   8           topics that a watch of the cluster asks for
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
//	WorkflowsBytesMax           16 MiB      definitions of the workflows of a worker, together
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
// cluster/backoff, cluster/inquire, sdk/codec and what is internal to sdk.
package sdk
