package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
)

// Exit codes of the process.
const (
	exitOK           = 0
	exitFailed       = 1
	exitInvalid      = 2
	exitNotFound     = 3
	exitPrecondition = 4
	exitUnavailable  = 5
	exitTimeout      = 6
	exitRunFailed    = 7
	exitRefused      = 8
	exitInterrupted  = 130
)

const exitCodesHelp = `Exit codes:
  0    done; a run that was waited for succeeded
  1    failed otherwise
  2    wrong arguments or input
  3    not found
  4    conflict, or not possible in the present state
  5    server not reachable
  6    time is over
  7    the run failed or was canceled
  8    secret missing or wrong
  130  interrupted`

// runEnded is the error of a command that waited for a run which did not
// succeed. The run itself has been printed.
type runEnded struct {
	runID   string
	status  messages.RunStatus
	failure *messages.Failure
}

func (e *runEnded) Error() string {
	if e.failure != nil {
		return fmt.Sprintf("run %s %s: %s", e.runID, statusName(e.status), e.failure.GetMessage())
	}
	return fmt.Sprintf("run %s %s", e.runID, statusName(e.status))
}

// hinted is an error with a better hint than its code's.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// exit reports an error on stderr and returns the code of the process.
func (c *cli) exit(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		err = c.out.failed
	}
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		c.err.printf("interrupted\n")
		return exitInterrupted
	}
	code, message, hint := messages.CodeInternal, err.Error(), ""
	var coded *messages.Error
	var ended *runEnded
	switch {
	case errors.As(err, &coded):
		code, message, hint = coded.Code, coded.Message, coded.Code.Hint()
	case errors.As(err, &ended):
		code, hint = messages.Code(ended.failure.GetCode()), messages.CodeStepFailed.Hint()
		if code == "" {
			code = messages.CodeStepFailed
		}
	case !c.began:
		code, hint = messages.CodeInvalidArgument, fmt.Sprintf("see `%s --help`", cmd.CommandPath())
	default:
		code, hint = "FAILED", ""
	}
	var better *hinted
	if errors.As(err, &better) {
		hint = better.hint
	}
	c.err.printf("%s %s\n", c.err.paint(red, "error "+string(code)+":"), lines(message))
	if hint != "" {
		c.err.printf("%s %s\n", c.err.paint(dim, "hint:"), hint)
	}
	if ended != nil {
		return exitRunFailed
	}
	return exitCode(code)
}

func exitCode(code messages.Code) int {
	if !code.Known() {
		return exitFailed
	}
	if code == messages.CodeLimitExceeded || code == messages.CodePayloadTooLarge {
		return exitInvalid
	}
	switch code.Kind() {
	case messages.KindInvalidArgument:
		return exitInvalid
	case messages.KindNotFound:
		return exitNotFound
	case messages.KindAlreadyExists, messages.KindFailedPrecondition, messages.KindAborted:
		return exitPrecondition
	case messages.KindUnavailable:
		return exitUnavailable
	case messages.KindDeadlineExceeded:
		return exitTimeout
	case messages.KindUnauthenticated, messages.KindPermissionDenied:
		return exitRefused
	}
	return exitFailed
}
