package sdk

import (
	"context"
	"fmt"
	"strings"

	"github.com/limpetrun/limpet/messages"
)

// RunStatus is where a run stands.
type RunStatus = messages.RunStatus

const (
	Running   = messages.RunStatus_RUN_STATUS_RUNNING
	Succeeded = messages.RunStatus_RUN_STATUS_SUCCEEDED
	Failed    = messages.RunStatus_RUN_STATUS_FAILED
	Canceled  = messages.RunStatus_RUN_STATUS_CANCELED
	// SetAside: the history holds what this version of the server cannot read.
	SetAside = messages.RunStatus_RUN_STATUS_SET_ASIDE
)

// AnyRun is a run to wait for: a Run that a client holds, or a Child that a
// step has spawned.
type AnyRun interface {
	ID() string
	outcome(ctx context.Context) (*outcome, error)
}

// RunError says that a run did not succeed. errors.Is finds why: the code of
// its failure, and ErrCanceled for a canceled run.
type RunError struct {
	RunID    string
	Workflow string
	// Status is Failed, Canceled or SetAside.
	Status RunStatus
	// Failure is the first failure of a step, or why the run was canceled.
	Failure error
}

func (e *RunError) Error() string {
	status := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(e.Status.String(), "RUN_STATUS_")), "_", " ")
	if e.Status == SetAside {
		status = "was " + status
	}
	return fmt.Sprintf("run %s of workflow %q %s: %v", e.RunID, e.Workflow, status, e.Failure)
}

// Unwrap returns the failure.
func (e *RunError) Unwrap() error { return e.Failure }

// Is says that a canceled run is ErrCanceled and one that was set aside is
// ErrRunSetAside.
func (e *RunError) Is(target error) bool {
	switch messages.CodeOf(target) {
	case messages.CodeCanceled:
		return e.Status == Canceled
	case messages.CodeRunSetAside:
		return e.Status == SetAside
	}
	return false
}

// outcome is the end of a run.
type outcome struct {
	runID    string
	workflow string
	status   messages.RunStatus
	failure  *messages.Failure
	// outputs of succeeded steps by name.
	outputs map[string][]byte
	// lasts are the steps that are nobody's parents.
	lasts []string
}

// err is nil for a run that succeeded.
func (o *outcome) err() error {
	if o.status == Succeeded {
		return nil
	}
	failure := messages.FromFailure(o.failure)
	if failure == nil {
		failure = messages.Errorf(messages.CodeStepFailed, "no failure is recorded")
		if o.status == Canceled {
			failure = messages.Errorf(messages.CodeCanceled, "no reason is recorded")
		}
	}
	return &RunError{RunID: o.runID, Workflow: o.workflow, Status: o.status, Failure: failure}
}

func (o *outcome) decode(step string, into any) error {
	data, ok := o.outputs[step]
	if !ok {
		if err := o.err(); err != nil {
			return err
		}
		return messages.Errorf(messages.CodeUnknownStep, "run %s of workflow %q has no step %q", o.runID, o.workflow, step)
	}
	if err := decode(data, into); err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "the output of step %q of run %s does not fit %T: %w", step, o.runID, into, err)
	}
	return nil
}

func wait(ctx context.Context, run AnyRun) error {
	o, err := run.outcome(ctx)
	if err != nil {
		return err
	}
	return o.err()
}

func result(ctx context.Context, run AnyRun, into any) error {
	o, err := run.outcome(ctx)
	if err != nil {
		return err
	}
	if err := o.err(); err != nil {
		return err
	}
	if len(o.lasts) != 1 {
		return messages.Errorf(messages.CodeInvalidArgument, "workflow %q has %d last steps (%s): ask one of them for its Result",
			o.workflow, len(o.lasts), strings.Join(o.lasts, ", "))
	}
	return o.decode(o.lasts[0], into)
}
