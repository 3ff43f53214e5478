package sdk

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/limpetrun/limpet/messages"
)

// OnParentEnd says what becomes of a child when its parent ends.
type OnParentEnd int

const (
	// CancelChild cancels the child when its parent ends, whatever ended it: a
	// cancel, a failure, a timeout, or success without waiting for the child. The
	// parent has ended once each such child has ended or has recorded the cancel,
	// whatever fails meanwhile.
	CancelChild OnParentEnd = iota
	// LeaveChild lets the child go on.
	LeaveChild
)

// SpawnOptions describe a child run. The zero value, and nil, is a child that
// is placed like any other run and canceled when its parent ends.
//
// A run that has ended is kept as long as a run above it goes on, beyond the
// retention time: that one may ask for it again.
type SpawnOptions struct {
	// Sticky binds the child to the worker that the spawning step runs on. The
	// child's workflow must be Soft or Hard (else ErrChildNotSticky) and
	// registered on that worker (else ErrChildNotOnWorker). Afterwards the
	// child follows its own strategy.
	Sticky bool
	// Key names the spawn within the step: a retried step gets the child back
	// that an earlier attempt spawned with the key. Defaults to the index of
	// the spawn among those of the workflow in the step, which is right as long
	// as a retry spawns in the same order. It must not begin with "#".
	//
	// A key, or an index, belongs to one workflow and one input. With another
	// one the spawn returns ErrSpawnKeyReused, in a later attempt as well, and a
	// step that returns it is not retried.
	Key string
	// OnParentEnd defaults to CancelChild.
	OnParentEnd OnParentEnd
	// KeepOnCancel is another word for OnParentEnd: LeaveChild.
	KeepOnCancel bool
	// AnewIfFailed is for a step that is retried: if the child that an earlier
	// attempt spawned with the key has failed or was canceled, the spawn makes
	// another one, once in each attempt. By default the step gets that child back,
	// whatever became of it: its result is there at once, and so is its failure,
	// again in each attempt.
	AnewIfFailed bool
	// Priority defaults to that of the child's workflow.
	Priority Priority
	// Metadata of the child: at most 64 entries, 16 KiB together; the keys are
	// names, the values UTF-8.
	Metadata map[string]string
}

// Spawn starts a run of the workflow as a child of the step that ctx belongs
// to and returns once the child is durable. ErrWorkflowRetired for a workflow that
// starts no new runs, unless the child is there already. At most one SpawnOptions may be
// given.
func (w *Workflow[In]) Spawn(ctx context.Context, in In, options ...*SpawnOptions) (*Child, error) {
	c, err := callerOf(ctx, "Spawn")
	if err != nil {
		return nil, err
	}
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(opts.Key, "#") {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "spawn key %q: must not begin with #", opts.Key)
	}
	input, err := encodeInput(w.Name(), in)
	if err != nil {
		return nil, err
	}
	key := opts.Key
	if key == "" {
		key = c.spawnKey(w.Name())
	}
	d := c.attempt.Dispatch
	spawn := &messages.SpawnChild{
		RunId: d.GetRunId(), Step: d.GetStep(), Attempt: d.GetAttempt(), Epoch: d.GetEpoch(),
		Key: key, Workflow: w.Name(), Input: input,
		Sticky: opts.Sticky, Priority: int32(opts.Priority), Metadata: opts.Metadata, Anew: opts.AnewIfFailed,
	}
	if spawn.OnParentEnd, err = opts.parentEnd(); err != nil {
		return nil, err
	}
	if err := messages.CheckFields(spawn); err != nil {
		return nil, err
	}
	id, err := c.attempt.Calls.SpawnChild(ctx, spawn)
	if err != nil {
		return nil, err
	}
	return &Child{id: id, workflow: w.erased(), step: c}, nil
}

// parentEnd is what the options say of the end of the parent.
func (o *SpawnOptions) parentEnd() (messages.ParentEnd, error) {
	switch {
	case o.OnParentEnd < CancelChild || o.OnParentEnd > LeaveChild:
		return 0, messages.Errorf(messages.CodeInvalidArgument, "spawn: OnParentEnd is %d, must be CancelChild or LeaveChild", o.OnParentEnd)
	case o.OnParentEnd == LeaveChild || o.KeepOnCancel:
		return messages.ParentEnd_PARENT_END_LEAVE, nil
	}
	return messages.ParentEnd_PARENT_END_CANCEL, nil
}

// Child is a run that a step has spawned. It is safe for concurrent use.
type Child struct {
	id       string
	workflow *workflow
	step     *stepContext

	mu sync.Mutex
	// end is how it ended; nil as long as the step does not know.
	end *messages.ChildEnd
}

// ID returns the id of the child run.
func (c *Child) ID() string { return c.id }

// Wait returns when the child has ended: nil if it succeeded, else a
// *RunError. A step that waits gives its slot back meanwhile, and its execution
// timeout stands still; it has the slot again before Wait returns.
//
// It is a call as Do makes them, by the name of "child", known by the child and the
// number of the wait for it: once the child has ended that is on record, and a later
// execution of the step gets it at once, whatever becomes of the child by a replay.
// WaitOptions may give it a Timeout, and a Key; at most one may be given. See First and
// All of several children. If ctx ends first, its cause is the error.
//
// Errors: *RunError; ErrWaitTimeout; ErrUnknownRun for a child that was deleted; those of
// Do.
//
// Goroutines of a step may wait too, for several children at once. Then the step
// keeps its slot as long as it works: while its function does anything but to be
// blocked on a channel, a lock or a group, or while a goroutine of it computes. A
// sleep of another goroutine, or its wait for a connection, is no work. All this is
// found by looking at it: after 5 ms first, later every 250 ms, and more rarely in a
// process with thousands of steps.
func (c *Child) Wait(ctx context.Context, options ...*WaitOptions) error {
	end, err := c.await(ctx, options)
	if err != nil {
		return err
	}
	return c.result(end, nil).err()
}

// Result waits like Wait and stores the output of the last step of the child's
// workflow in the value that into points to. A workflow with several last
// steps has no such output: use Step.Result.
func (c *Child) Result(ctx context.Context, into any) error { return result(ctx, c, into) }

func (c *Child) outcome(ctx context.Context) (*outcome, error) {
	end, err := c.await(ctx, nil)
	if err != nil {
		return nil, err
	}
	outputs, err := c.step.attempt.Calls.Outputs(ctx, end)
	if err != nil {
		return nil, err
	}
	return c.result(end, outputs), nil
}

func (c *Child) result(end *messages.ChildEnd, outputs map[string][]byte) *outcome {
	return &outcome{
		runID: c.id, workflow: c.workflow.name, status: end.GetStatus(), failure: end.GetFailure(),
		outputs: outputs, lasts: c.workflow.lasts(),
	}
}

// await returns how the child ended.
func (c *Child) await(ctx context.Context, options []*WaitOptions) (*messages.ChildEnd, error) {
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	wait, err := opts.wait("child")
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	end := c.end
	c.mu.Unlock()
	if end != nil {
		return end, nil
	}
	if opts.Key == "" {
		opts.Key = c.step.waitKey(c.id)
	}
	wait.Kind, wait.Branches = messages.CallKind_CALL_KIND_CHILD, []*messages.WaitBranch{c.asks()}
	call, err := c.step.await(ctx, wait, opts.Key)
	if err == nil {
		err = failureOf(call, wait.Kind)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	c.ends(call.Child)
	return call.Child, nil
}

func (c *Child) asks() *messages.WaitBranch {
	return &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_CHILD, ChildRun: c.id}
}

func (c *Child) ends(end *messages.ChildEnd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
}

// encodeInput encodes the input of a run; INVALID_INPUT or PAYLOAD_TOO_LARGE.
func encodeInput(workflow string, in any) ([]byte, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidInput, "the input of workflow %q does not encode as JSON: %w", workflow, err)
	}
	if err := messages.CheckPayload("the input of workflow "+workflow, data); err != nil {
		return nil, err
	}
	return data, nil
}

// onlyOptions returns the one value that options may hold; none and nil are
// the zero value.
func onlyOptions[T any](options []*T) (T, error) {
	var zero T
	switch {
	case len(options) > 1:
		return zero, messages.Errorf(messages.CodeInvalidArgument, "%d options are given: at most one", len(options))
	case len(options) == 0 || options[0] == nil:
		return zero, nil
	}
	return *options[0], nil
}
