package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/limpetrun/limpet/messages"
)

// First waits until one of the branches comes, and returns that one: its value is there
// then. The others take nothing: a message that comes later, or was there as well, stays
// in the mailbox for whoever asks next, and a time that was not needed wakes nobody.
//
//	approval, tomorrow := sdk.OnSignal[Approval]("approval"), sdk.OnSleep(24*time.Hour)
//	switch came, err := sdk.First(ctx, "decision", nil, approval, tomorrow); {
//	case err != nil:
//		return err
//	case came == approval:
//		return order(approval.Value())
//	case came == tomorrow:
//		return remind()
//	}
//
// It is one call as Do makes them, known by its name and key or number. Which branch
// came is on record: any later execution of the step gets the same one, whatever has
// come by then. Of several that have come when the call is made, it is the first one in
// the order of the arguments. A sleep counts from the first time that the step made the
// call. See Receive of what waiting means, and of ctx.
//
// The options may be nil. Their Timeout is for all branches; AtOnce takes what is there.
// A branch that comes to nothing, a child that failed or a message that does not decode,
// has come: it is returned with its error.
//
// Errors: those of the branch that came; ErrWaitTimeout, ErrCanceled and those of Do,
// without a branch. ErrCallMismatch if what is on record is none of the branches: a step
// that is changed while runs wait in it keeps their order, and adds new ones at the end.
// ErrLimitExceeded for more than BranchesMax branches.
func First(ctx context.Context, name string, options *WaitOptions, branches ...Branch) (Branch, error) {
	c, err := callerOf(ctx, "First")
	if err != nil {
		return nil, err
	}
	opts, err := onlyOptions([]*WaitOptions{options})
	if err != nil {
		return nil, err
	}
	wait, err := waitFor(messages.CallKind_CALL_KIND_FIRST, name, opts, branches)
	if err != nil {
		return nil, err
	}
	call, err := c.await(ctx, wait, opts.Key)
	if err == nil {
		err = failureOf(call, wait.Kind)
	}
	if err != nil {
		return nil, err
	}
	if i := int(call.Branch); i < len(branches) && branches[i].takes(call) {
		return branches[i], branches[i].Err()
	}
	return nil, messages.Errorf(messages.CodeCallMismatch, "call %q %s of step %q: attempt %d has recorded that its branch %d came, which is not among the %d of now",
		call.Name, call.Key, call.Step, call.Attempt, call.Branch, len(branches))
}

// All waits until all of the branches have come: their values are there then. They begin
// to wait at the same moment, in one step of the run's history, however many they are.
//
//	var all []sdk.Branch
//	for _, page := range pages {
//		child, err := fetch.Spawn(ctx, page)
//		if err != nil { return err }
//		all = append(all, sdk.OnChild(child))
//	}
//	err := sdk.All(ctx, "pages", nil, all...)
//
// The options may be nil. Their Timeout is for each branch. The error joins those of the
// branches (errors.Join), in their order, each with the name of its branch; errors.Is
// and errors.As find them. Branch.Err tells them from each other. A branch that comes to
// nothing does not end the waiting for the others.
//
// On record it is a call for itself, and one for each branch, which is known by its
// place among the arguments; each counts towards CallsMax. Otherwise it is as First.
func All(ctx context.Context, name string, options *WaitOptions, branches ...Branch) error {
	c, err := callerOf(ctx, "All")
	if err != nil {
		return err
	}
	opts, err := onlyOptions([]*WaitOptions{options})
	if err != nil {
		return err
	}
	wait, err := waitFor(messages.CallKind_CALL_KIND_ALL, name, opts, branches)
	if err != nil {
		return err
	}
	calls, err := c.awaitAll(ctx, wait, opts.Key)
	if err != nil {
		return err
	}
	var errs []error
	for i, call := range calls {
		b := branches[i]
		if err := failureOf(call, wait.Branches[i].Kind); err != nil {
			b.fails(err)
		} else if !b.takes(call) {
			b.fails(messages.Errorf(messages.CodeCallMismatch, "call %q %s of step %q: what attempt %d has recorded of branch %d is something else", call.Name, call.Key, call.Step, call.Attempt, i))
		}
		if err := b.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.words(), err))
		}
	}
	return errors.Join(errs...)
}

// waitFor is the wait for branches, or why there can be none.
func waitFor(kind messages.CallKind, name string, opts WaitOptions, branches []Branch) (*messages.AwaitCall, error) {
	wait, err := opts.wait(name)
	if err != nil {
		return nil, err
	}
	switch wait.Kind = kind; {
	case len(branches) == 0:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "call %q waits for nothing: it needs a branch", name)
	case len(branches) > messages.BranchesMax:
		return nil, messages.Errorf(messages.CodeLimitExceeded, "call %q waits for %d things, more than BranchesMax = %d", name, len(branches), messages.BranchesMax)
	}
	for i, b := range branches {
		if b == nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "call %q: branch %d is nil", name, i)
		}
		b.fails(nil)
		ask, err := b.asks()
		if err != nil {
			return nil, messages.Errorf(messages.CodeOf(err), "call %q: branch %d: %w", name, i, err)
		}
		wait.Branches = append(wait.Branches, ask)
	}
	return wait, nil
}

// awaitAll returns how the parts of an ALL came out.
func (c *stepContext) awaitAll(ctx context.Context, wait *messages.AwaitCall, key string) ([]*messages.CallRecorded, error) {
	call, ends, err := c.begin(ctx, wait.Kind, wait.Name, key)
	if err != nil {
		return nil, err
	}
	defer ends()
	wait.Key = call.Key
	recorded, calls, err := c.attempt.Calls.AwaitAll(ctx, wait)
	if err == nil {
		err = failureOf(recorded, wait.Kind)
	}
	return calls, err
}
