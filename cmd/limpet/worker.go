package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workerCommand() *cobra.Command {
	return group("worker", "Look at workers, drain them", c.workerListCommand(), c.workerGetCommand(), c.workerAttemptsCommand(), c.workerDrainCommand(), c.workerUndrainCommand())
}

func (c *cli) workerListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the workers that the server sees",
		Example: `  limpet worker list
  limpet worker list --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := call(ctx, conn, conn.ListWorkers, &api.ListWorkersRequest{})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			case len(list.GetWorkers()) == 0:
				c.err.printf("no workers\n")
				return nil
			}
			t := &table{header: []string{"WORKER", "STATE", "POOL", "SLOTS", "RUNNING", "HELD", "QUEUED", "BOUND RUNS", "SOFT", "HARD", "SHARED KEYS",
				"UP FOR", "ADDRESS", "LABELS", "WORKFLOWS"}}
			for _, w := range list.GetWorkers() {
				t.add(plain(w.GetWorkerId()), workerState(w), plain(w.GetPool()),
					number(w.GetSlots()), number(w.GetRunning()), plain(heldSlots(w)), number(w.GetQueued()), plain(boundRuns(w)),
					nonZero(w.GetBoundSoft()), nonZero(w.GetBoundHard()), nonZero(w.GetSharedKeys()),
					plain(c.lasted(w.GetStartedAt(), nil)), plain(w.GetAddress()), plain(pairs(w.GetLabels())),
					plain(brief(strings.Join(w.GetWorkflows(), ","), 60)))
			}
			c.printTable(t)
			return nil
		}),
	}
}

// boundRuns is how many unfinished runs the journal has bound to a worker, of
// how many it takes.
func boundRuns(w *api.Worker) string {
	if w.GetStickyRunsMax() > 0 {
		return fmt.Sprintf("%d/%d", w.GetBoundRuns(), w.GetStickyRunsMax())
	}
	return fmt.Sprint(w.GetBoundRuns())
}

// heldSlots is how many slots functions hold that do not return, and for how long
// the first of them has; empty for none.
func heldSlots(w *api.Worker) string {
	if w.GetHeldSlots() == 0 {
		return ""
	}
	return fmt.Sprintf("%d for %s", w.GetHeldSlots(), span(w.GetHeldFor().AsDuration()))
}

// keptSteps is how many steps wait on a worker without a slot, and how many it has
// suspended; empty for none of both.
func keptSteps(w *api.Worker) string {
	if w.GetKept() == 0 && w.GetSuspended() == 0 {
		return ""
	}
	text := fmt.Sprintf("%d/%d steps that wait; suspended %d", w.GetKept(), w.GetKeptMax(), w.GetSuspended())
	if early := w.GetSuspendedEarly(); early > 0 {
		text += fmt.Sprintf(", %d of them early", early)
	}
	return text
}

// workerState is a worker's state, with what is left until the deadline of a
// drain. "leaving" is one that drains because its process is to end.
func workerState(w *api.Worker) cell {
	text, color := w.GetState(), phaseColor(w.GetState())
	if w.GetEnding() {
		text = "leaving"
	}
	if left := w.GetDrainLeft(); left != nil {
		text += " " + timeLeft(left.AsDuration())
	}
	return cell{text, color}
}

// timeLeft is what is left of a drain, in whole seconds.
func timeLeft(d time.Duration) string {
	if d <= 0 {
		return "(deadline over)"
	}
	return span(max(d.Round(time.Second), time.Second))
}

func (c *cli) workerGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get WORKER",
		Short: "Show a worker: its load, labels, workflows, local state and what became of it",
		Example: `  limpet worker get gpu-1
  limpet worker get gpu-1 --json`,
		Args:              oneArg("the id of a worker"),
		ValidArgsFunction: c.completesArg(workerIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			got, err := call(ctx, conn, conn.GetWorker, &api.GetWorkerRequest{WorkerId: args[0]})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(got)
			}
			c.printWorker(got.GetWorker())
			c.printWorkerEvents(got.GetEvents())
			return nil
		}),
	}
}

// printWorker shows a worker for eyes.
func (c *cli) printWorker(w *api.Worker) {
	state := workerState(w)
	c.field("worker", w.GetWorkerId())
	c.field("state", c.out.paint(state.color, state.text))
	c.field("because", w.GetStateReason().Words())
	c.field("pool", w.GetPool())
	c.field("slots", fmt.Sprint(w.GetSlots()))
	switch {
	case w.GetReported():
		c.field("running", fmt.Sprint(w.GetRunning()))
		if held := heldSlots(w); held != "" {
			c.field("held", held+": functions that have not returned although their attempts are over")
		}
		c.field("queued", fmt.Sprint(w.GetQueued()))
		c.field("kept", keptSteps(w))
	case w.GetState() != api.WorkerGone:
		c.field("running", "not reported")
	}
	c.field("bound runs", fmt.Sprintf("%s, here %d SOFT and %d HARD", boundRuns(w), w.GetBoundSoft(), w.GetBoundHard()))
	if w.GetSharedKeys() > 0 {
		c.field("shared keys", fmt.Sprint(w.GetSharedKeys()))
	}
	c.field("labels", pairs(w.GetLabels()))
	c.field("workflows", strings.Join(w.GetWorkflows(), ", "))
	c.field("up for", c.lasted(w.GetStartedAt(), nil))
	c.field("address", w.GetAddress())
	if w.GetHost() != "" {
		c.field("process", fmt.Sprintf("%d on %s", w.GetProcessId(), w.GetHost()))
	}
	c.field("incarnation", w.GetIncarnation())
	c.field("sdk", w.GetSdkVersion())
	if len(w.GetLocals()) == 0 {
		return
	}
	c.out.printf("\n")
	t := &table{header: []string{"LOCAL STATE", "KIND", "VALUES", "IN USE", "BYTES", "HITS", "BUILDS", "FAILED", "RELEASED", "EVICTED"}}
	for _, u := range w.GetLocals() {
		kind := "private"
		if u.GetShared() {
			kind = "shared"
		}
		t.add(plain(u.GetName()), plain(kind), count(u.GetValues()), count(u.GetInUse()), plain(byteSize(u.GetBytes())), count(u.GetHits()),
			count(u.GetBuilds()), count(u.GetFailures()), count(u.GetReleases()), count(u.GetEvictions()))
	}
	c.printTable(t)
}

func count(n int64) cell { return cell{text: fmt.Sprint(n)} }

// byteSize is a size with three digits at most.
func byteSize(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1000 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	return fmt.Sprintf("%.3g %ciB", size, units[unit])
}
