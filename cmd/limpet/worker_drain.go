package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// drainDeadline is how long a drain serves HARD runs if nothing is said.
	drainDeadline = 5 * time.Minute
	// drainPoll is the pause between two polls of a worker that drains.
	drainPoll = 500 * time.Millisecond
	// drainUnseen is how long the server that is asked may not have heard of the
	// drain.
	drainUnseen = 20 * time.Second
)

func (c *cli) workerDrainCommand() *cobra.Command {
	var deadline time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain WORKER",
		Short: "Let a worker take on nothing new, and its runs leave",
		Long: `Let a worker take on nothing new. Its process stays. SOFT runs leave it at
their next step boundary, with the local state that they hand off; where no
other worker has their steps they wait for one. HARD runs stay until they end. At the deadline running steps are canceled, and HARD runs
wait until the worker is undrained or started anew. A second drain sets the
deadline anew.

With --wait the command ends with exit code
  0  when nothing runs on the worker and no run is bound to it, or it has left
  1  when somebody has undrained it
  4  when it was lost
  6  when the deadline has passed; what is left is said`,
		Example: `  limpet worker drain gpu-1 --wait
  limpet worker drain gpu-1 --deadline 30m
  limpet worker undrain gpu-1`,
		Args:              oneArg("the id of a worker"),
		ValidArgsFunction: c.completesArg(workerIDs(api.WorkerUp)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			drained, err := call(ctx, conn, conn.DrainWorker, &api.DrainWorkerRequest{WorkerId: args[0], Deadline: durationpb.New(deadline)})
			if err != nil {
				return err
			}
			w := drained.GetWorker()
			if wait {
				w, err = c.awaitDrain(ctx, conn, w)
			}
			if w != nil {
				if err := c.printDrain(w); err != nil {
					return err
				}
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&deadline, "deadline", drainDeadline, "how long steps may run on and HARD runs are served")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the worker is empty or the deadline has passed")
	return cmd
}

// awaitDrain waits for the end of a drain and returns the worker as it is then.
func (c *cli) awaitDrain(ctx context.Context, conn *connection, w *api.Worker) (*api.Worker, error) {
	line := c.newProgress()
	conn.line = line
	defer line.clear()
	// The worker has said yes; the server that is asked may see it later.
	for unseen := time.Now().Add(drainUnseen); ; {
		if w.GetState() != api.WorkerUp {
			unseen = time.Time{}
		}
		switch {
		case w.GetState() == api.WorkerGone && w.GetStateReason() != messages.Reason_REASON_WORKER_LEFT:
			return w, &hinted{messages.Errorf(messages.CodeWorkerLost, "worker %s did not come to the end of its drain", w.GetWorkerId()),
				"SOFT runs go on elsewhere; HARD runs wait until the worker is started again"}
		case w.GetState() == api.WorkerGone, w.GetDrainLeft() != nil && isEmpty(w):
			return w, nil
		case w.GetState() == api.WorkerUp && time.Now().After(unseen):
			return w, fmt.Errorf("worker %s was undrained before it was empty", w.GetWorkerId())
		case w.GetDrainLeft() != nil && w.GetDrainLeft().AsDuration() <= 0:
			return w, &hinted{messages.Errorf(messages.CodeDeadline, "the deadline of the drain has passed, and worker %s is not empty", w.GetWorkerId()),
				fmt.Sprintf("what is left waits; `limpet worker drain %s --deadline …` gives it more time, undrain takes the drain back", w.GetWorkerId())}
		}
		line.say("%s", drainText(w))
		if err := backoff.Sleep(ctx, drainPoll); err != nil {
			return nil, err
		}
		got, err := call(ctx, conn, conn.GetWorker, &api.GetWorkerRequest{WorkerId: w.GetWorkerId()})
		if err != nil {
			return nil, err
		}
		w = got.GetWorker()
	}
}

// isEmpty says that nothing runs on a worker and that no run is bound to it, as
// it says itself.
func isEmpty(w *api.Worker) bool {
	return w.GetReported() && w.GetRunning()+w.GetQueued()+w.GetBoundSoft()+w.GetBoundHard() == 0
}

// holds says what a worker has left to do.
func holds(w *api.Worker) string {
	if !w.GetReported() {
		return "not reported its load yet"
	}
	return fmt.Sprintf("%d running and %d queued steps, %d SOFT and %d HARD bound runs", w.GetRunning(), w.GetQueued(), w.GetBoundSoft(), w.GetBoundHard())
}

func drainText(w *api.Worker) string {
	switch {
	case w.GetState() == api.WorkerGone:
		return fmt.Sprintf("worker %s is gone: %s", w.GetWorkerId(), w.GetStateReason().Words())
	case w.GetState() == api.WorkerUp:
		return fmt.Sprintf("worker %s is up: %s", w.GetWorkerId(), holds(w))
	case w.GetDrainLeft() != nil && isEmpty(w):
		return fmt.Sprintf("worker %s drains and is empty", w.GetWorkerId())
	}
	text := fmt.Sprintf("worker %s drains: it has %s", w.GetWorkerId(), holds(w))
	switch left := w.GetDrainLeft(); {
	case left == nil:
		return text
	case left.AsDuration() <= 0:
		return text + "; its deadline is over"
	default:
		return text + ", " + timeLeft(left.AsDuration()) + " left"
	}
}

func (c *cli) printDrain(w *api.Worker) error {
	if c.json {
		return c.printJSON(w)
	}
	c.out.printf("%s\n", drainText(w))
	return nil
}

func (c *cli) workerUndrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain WORKER",
		Short: "Let a worker that was drained take on new runs again",
		Example: `  limpet worker undrain gpu-1
  limpet worker undrain gpu-1 --json`,
		Args:              oneArg("the id of a worker"),
		ValidArgsFunction: c.completesArg(workerIDs(api.WorkerDraining)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			got, err := call(ctx, conn, conn.UndrainWorker, &api.UndrainWorkerRequest{WorkerId: args[0]})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(got.GetWorker())
			}
			c.out.printf("worker %s takes on new runs again\n", got.GetWorker().GetWorkerId())
			return nil
		}),
	}
}
