package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runCommand() *cobra.Command {
	return group("run", "Start, look at and steer runs",
		c.runStartCommand(), c.runGetCommand(), c.runAttemptsCommand(), c.runListCommand(), c.runCountCommand(), c.runWatchCommand(), c.runLogsCommand(), c.runStreamCommand(),
		c.runSignalCommand(), c.runAskCommand(), c.runCancelCommand(), c.runReplayCommand())
}

// waitFlags are shared by the commands that may wait for the end of a run.
type waitFlags struct {
	wait    bool
	timeout time.Duration
}

func (w *waitFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait for the end of the run; exit code 7 if it did not succeed")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "with --wait: give up waiting after this time, such as 30s or 5m; 0 means never")
}

func (w *waitFlags) check() error {
	if w.timeout != 0 && !w.wait {
		return messages.Errorf(messages.CodeInvalidArgument, "--timeout is for --wait, which is not given")
	}
	if w.timeout < 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "--timeout is %s, less than 0", w.timeout)
	}
	return nil
}

// pollFirst is short, so that what the run waits for is shown early; pollNext
// goes easy on the server.
const (
	pollFirst = time.Second
	pollNext  = 5 * time.Second
	// waitSlack is how much later than --timeout the server may answer.
	waitSlack = 2 * time.Second
)

// awaitRun waits for the end of a run, shows progress on a terminal, and goes
// on through the loss of the server.
func (c *cli) awaitRun(ctx context.Context, conn *connection, runID string, timeout time.Duration) (*api.GetRunResponse, error) {
	over := messages.Errorf(messages.CodeDeadline, "run %s has not ended within %s; it goes on", runID, timeout)
	deadline := time.Now().Add(timeout)
	if timeout > 0 {
		// The server ends the last wait by itself: a call that is broken off would be
		// told of as one that failed.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline.Add(waitSlack), over)
		defer cancel()
	}
	line := c.newProgress()
	conn.line = line
	defer line.clear()
	began, poll := c.now(), pollFirst
	for {
		if timeout > 0 {
			if poll = min(poll, time.Until(deadline)); poll <= 0 {
				return nil, over
			}
		}
		resp, err := conn.WaitRun(ctx, connect.NewRequest(&api.WaitRunRequest{RunId: runID, Wait: durationpb.New(poll)}))
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, conn.explain(err)
		case resp.Msg.GetEnded():
			return resp.Msg.GetRun(), nil
		default:
			line.say("%s  %s", runID, c.progressText(resp.Msg.GetRun(), c.now().Sub(began)))
			poll = pollNext
		}
	}
}

// progressText says how far a run is.
func (c *cli) progressText(r *api.GetRunResponse, waited time.Duration) string {
	done := 0
	for _, s := range r.GetSteps() {
		if api.PhaseEnded(s.GetPhase()) {
			done++
		}
	}
	text := fmt.Sprintf("%s, %d of %d steps, %s", statusName(r.GetRun().GetStatus()), done, len(r.GetSteps()), span(waited.Round(time.Second)))
	if w := r.GetRun().GetWaitingFor(); w != "" {
		text += ", waits for " + brief(w, 80)
	}
	return text
}

// endOf is nil for a run that succeeded.
func endOf(run *api.Run) error {
	if run.GetStatus() == messages.RunStatus_RUN_STATUS_SUCCEEDED {
		return nil
	}
	return &runEnded{run.GetRunId(), run.GetStatus(), run.GetFailure()}
}

// finish waits for a run if asked to, prints it and returns how it ended.
func (c *cli) finish(ctx context.Context, conn *connection, runID string, w waitFlags) error {
	run, err := c.awaitRun(ctx, conn, runID, w.timeout)
	if err != nil {
		return err
	}
	if c.json {
		err = c.printJSON(run)
	} else {
		c.printRun(run)
	}
	if err != nil {
		return err
	}
	return endOf(run.GetRun())
}
