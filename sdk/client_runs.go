package sdk

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

const (
	// waitPiece is how long one call of a wait may take on the server.
	waitPiece = 30 * time.Second
	// bulkBytesMax is the size of one call of StartMany.
	bulkBytesMax = 9 << 20
)

// StartOptions describe a run. The zero value, and nil, is a run with a new id
// and the priority of its workflow.
type StartOptions struct {
	// IdempotencyKey makes a second start with the same key and workflow return
	// the first run. ErrIdempotencyMismatch if its input is another one. At
	// most 256 bytes.
	IdempotencyKey string
	// Priority defaults to the workflow's.
	Priority Priority
	// Metadata is kept with the run and shown to its steps: at most 64 entries,
	// 16 KiB together; the keys are names, the values UTF-8.
	Metadata map[string]string
	// Signal is a message that the run has either way: a run that is there under the
	// IdempotencyKey gets it, as by Run.Signal, and its input is not compared; else
	// the run is started with it. Either is one entry of the history: no run ends in
	// between. Needs an IdempotencyKey. ErrRunFinished if the run under the key has
	// ended, unless it has the message already.
	Signal *Signal
}

// Signal is a message for the mailbox of a run.
type Signal struct {
	Name string
	// Payload is anything that encoding/json can encode.
	Payload any
	SignalOptions
}

// Run is a run as its client knows it.
type Run struct {
	client *Client
	id     string
	// Existed says that an earlier start with the same idempotency key had
	// started the run: another one, or a try of this one whose answer was lost.
	Existed bool
}

// ID returns the id of the run.
func (r *Run) ID() string { return r.id }

// Start starts a run of the workflow and returns once it is durable. At most
// one StartOptions may be given.
func (w *Workflow[In]) Start(ctx context.Context, c *Client, in In, options ...*StartOptions) (*Run, error) {
	return c.Start(ctx, w.Name(), in, options...)
}

// StartManyOptions describe runs that are started together.
type StartManyOptions struct {
	// IdempotencyKey returns that of the i-th run, counted from 0; nil for none.
	IdempotencyKey func(i int) string
	// Priority defaults to the workflow's.
	Priority Priority
	// Metadata of every run.
	Metadata map[string]string
}

// StartMany starts a run for each input, in calls of at most 10,000 runs and
// 9 MiB, metadata and keys included. All runs of one call are checked before any is started. It
// returns the runs in the order of their inputs; together with an error, those
// that were started before it.
func (w *Workflow[In]) StartMany(ctx context.Context, c *Client, inputs []In, options ...*StartManyOptions) ([]*Run, error) {
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	runs := make([]*Run, 0, len(inputs))
	var batch []*api.StartRunRequest
	size := 0
	flush := func() error {
		started, err := c.startBatch(ctx, batch)
		runs = append(runs, started...)
		batch, size = nil, 0
		return err
	}
	for i, in := range inputs {
		data, err := encodeInput(w.Name(), in)
		if err != nil {
			return runs, err
		}
		req := &api.StartRunRequest{Workflow: w.Name(), Input: data, Priority: int32(opts.Priority), Metadata: opts.Metadata}
		if opts.IdempotencyKey != nil {
			req.IdempotencyKey = opts.IdempotencyKey(i)
		}
		bytes := proto.Size(req)
		if len(batch) == messages.BulkRunsMax || size+bytes > bulkBytesMax && size > 0 {
			if err := flush(); err != nil {
				return runs, err
			}
		}
		batch, size = append(batch, req), size+bytes
	}
	return runs, flush()
}

func (c *Client) startBatch(ctx context.Context, batch []*api.StartRunRequest) ([]*Run, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	res, err := c.startRuns(ctx, &api.StartRunsRequest{Runs: batch})
	if err != nil {
		return nil, err
	}
	runs := make([]*Run, 0, len(batch))
	for _, r := range res.GetRuns() {
		runs = append(runs, &Run{client: c, id: r.GetRunId(), Existed: r.GetExisted()})
	}
	return runs, nil
}

// Start starts a run of the workflow with the name; the input is encoded as
// JSON (json.RawMessage passes as it is). At most one StartOptions may be given.
func (c *Client) Start(ctx context.Context, workflow string, input any, options ...*StartOptions) (*Run, error) {
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	data, err := encodeInput(workflow, input)
	if err != nil {
		return nil, err
	}
	req := &api.StartRunRequest{
		Workflow: workflow, Input: data, IdempotencyKey: opts.IdempotencyKey,
		Priority: int32(opts.Priority), Metadata: opts.Metadata,
	}
	if s := opts.Signal; s != nil {
		req.SignalName, req.SignalMessageId = s.Name, s.ID
		if err := messages.CheckName("the name of a signal", s.Name); err != nil {
			return nil, err
		}
		if req.SignalPayload, err = encodeSignal(s.Name, s.Payload); err != nil {
			return nil, err
		}
	}
	res, err := c.startRun(ctx, req)
	if err != nil {
		return nil, err
	}
	return &Run{client: c, id: res.GetRunId(), Existed: res.GetExisted()}, nil
}

// Run returns a handle of the run with the id, whether there is one or not.
func (c *Client) Run(id string) *Run { return &Run{client: c, id: id} }

// Get returns the run as it is now: steps, outputs, bindings, children.
func (r *Run) Get(ctx context.Context) (*api.GetRunResponse, error) {
	return call(ctx, r.client, shortCall, apiconnect.LimpetServiceClient.GetRun, &api.GetRunRequest{RunId: r.id})
}

// Wait returns when the run has ended: nil if it succeeded, else a *RunError.
func (r *Run) Wait(ctx context.Context) error { return wait(ctx, r) }

// Result waits like Wait and stores the output of the workflow's last step in
// the value that into points to. A workflow with several last steps has no such
// output: use Step.Result.
func (r *Run) Result(ctx context.Context, into any) error { return result(ctx, r, into) }

// Ended waits for the run's end, however it ends, and returns the run.
func (r *Run) Ended(ctx context.Context) (*api.GetRunResponse, error) {
	for {
		piece := waitPiece
		if deadline, ok := ctx.Deadline(); ok {
			piece = max(min(piece, time.Until(deadline)), time.Millisecond)
		}
		res, err := r.client.waitRun(ctx, &api.WaitRunRequest{RunId: r.id, Wait: durationpb.New(piece)})
		if err != nil {
			return nil, err
		}
		if res.GetEnded() {
			return res.GetRun(), nil
		}
		if err := ctx.Err(); err != nil {
			return nil, messages.Errorf(messages.CodeDeadline, "run %s has not ended: %w", r.id, err)
		}
	}
}

// Cancel asks the run to end; nil once that is durable. Steps that run see
// their context end; then the workflow's end step is executed, if it has one.
// ErrRunFinished if the run has ended already, ErrRunEnding if it has failed or
// succeeded and its end step is executed; nil if it may have been an earlier try of
// this very call that ended it.
func (r *Run) Cancel(ctx context.Context, reason string) error {
	_, err := r.client.cancelRun(ctx, &api.CancelRunRequest{RunId: r.id, Reason: reason})
	return err
}

// CancelWithoutEnd is Cancel for a run that is to end without its end step: one that is
// being executed is canceled, too, and the run ends as was decided before.
func (r *Run) CancelWithoutEnd(ctx context.Context, reason string) error {
	_, err := r.client.cancelRun(ctx, &api.CancelRunRequest{RunId: r.id, Reason: reason, WithoutEndStep: true})
	return err
}

// SignalOptions describe a message. The zero value, and nil, is one with an id that
// is drawn.
type SignalOptions struct {
	// ID names the message: the run has it once, however often it is sent. With
	// another name or payload it is ErrIdempotencyMismatch.
	ID string
}

// Signal puts a message into the run's mailbox, where Receive takes it; nil once it
// is durable, whether or not a step waits for it. The payload is anything that
// encoding/json can encode. At most one SignalOptions may be given.
//
// Errors: ErrUnknownRun; ErrRunFinished for a run that has ended; ErrLimitExceeded
// for more than SignalsMax messages that were not received, unless a step waits for this
// one; ErrPayloadTooLarge; ErrIdempotencyMismatch; ErrInvalidArgument.
func (r *Run) Signal(ctx context.Context, name string, payload any, options ...*SignalOptions) error {
	opts, err := onlyOptions(options)
	if err != nil {
		return err
	}
	data, err := encodeSignal(name, payload)
	if err != nil {
		return err
	}
	_, err = r.client.signalRun(ctx, &api.SignalRunRequest{RunId: r.id, Name: name, Payload: data, MessageId: opts.ID})
	return err
}

func encodeSignal(name string, payload any) ([]byte, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidInput, "the payload of signal %q does not encode as JSON: %w", name, err)
	}
	return data, messages.CheckPayload("the payload of signal "+name, data)
}

// Replay runs the named steps of an ended run, and what descends from them,
// again: all steps if none is named. The binding of a sticky run is cleared
// first. ErrRunNotFinished if the run has not ended.
func (r *Run) Replay(ctx context.Context, steps ...string) error {
	_, err := r.client.replayRun(ctx, &api.ReplayRunRequest{RunId: r.id, Steps: steps})
	return err
}

// Watch yields the entries of the run's history after the given one (0 for
// all), as they become durable, until the run has ended or the loop is left. A
// stream that breaks is gone on with at another server from the last entry on,
// so that none is left out or comes twice; an error is the last that is
// yielded. Of a run that went on as new the entries of earlier links may be deleted:
// then the numbers of the entries jump, to the entry that began a later link.
func (r *Run) Watch(ctx context.Context, after uint64) iter.Seq2[*api.WatchRunResponse, error] {
	return follow(ctx, r.client, apiconnect.LimpetServiceClient.WatchRun,
		func() *api.WatchRunRequest { return &api.WatchRunRequest{RunId: r.id, AfterEntry: after} },
		func(m *api.WatchRunResponse) bool {
			fresh := m.GetEntry() > after
			after = max(after, m.GetEntry())
			return fresh
		})
}

// LogOptions are options of Run.Log.
type LogOptions struct {
	// Step whose lines are wanted; empty for all.
	Step string
	// After is a place, up to which nothing is wanted.
	After int64
	// Follow waits for more lines until the run has ended.
	Follow bool
}

// Log yields what the steps of the run have logged by Context.Logger, and why attempts
// failed, in the order in which it was stored. A stream that breaks is gone on with, as
// by Watch. At most one options may be given. Errors: UNKNOWN_RUN, UNKNOWN_STEP.
func (r *Run) Log(ctx context.Context, options ...*LogOptions) iter.Seq2[*api.ReadLogResponse, error] {
	o, err := onlyOptions(options)
	if err != nil {
		return func(yield func(*api.ReadLogResponse, error) bool) { yield(nil, err) }
	}
	return follow(ctx, r.client, apiconnect.LimpetServiceClient.ReadLog,
		func() *api.ReadLogRequest {
			return &api.ReadLogRequest{RunId: r.id, Step: o.Step, After: o.After, Follow: o.Follow}
		},
		func(m *api.ReadLogResponse) bool {
			fresh := m.GetPlace() > o.After
			o.After = max(o.After, m.GetPlace())
			return fresh
		})
}

func (r *Run) outcome(ctx context.Context) (*outcome, error) {
	got, err := r.Ended(ctx)
	if err != nil {
		return nil, err
	}
	o := &outcome{
		runID: r.id, workflow: got.GetRun().GetWorkflow(), status: got.GetRun().GetStatus(),
		failure: got.GetRun().GetFailure(), outputs: make(map[string][]byte),
	}
	isParent := make(map[string]bool)
	for _, s := range got.GetSteps() {
		for _, p := range s.GetParents() {
			isParent[p] = true
		}
	}
	for _, s := range got.GetSteps() {
		if s.GetPhase() == api.PhaseSucceeded {
			o.outputs[s.GetName()] = s.GetOutput()
		}
		if !isParent[s.GetName()] && !s.GetEndStep() {
			o.lasts = append(o.lasts, s.GetName())
		}
	}
	return o, nil
}
