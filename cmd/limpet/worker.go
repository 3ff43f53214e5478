package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workerCommand() *cobra.Command {
	return group("worker", "Look at workers", c.workerListCommand())
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
				fmt.Fprintln(c.err, "no workers")
				return nil
			}
			t := &table{header: []string{"WORKER", "STATE", "POOL", "SLOTS", "RUNNING", "QUEUED", "BOUND RUNS", "UP FOR", "ADDRESS", "LABELS", "WORKFLOWS"}}
			for _, w := range list.GetWorkers() {
				bound := fmt.Sprint(w.GetBoundRuns())
				if w.GetStickyRunsMax() > 0 {
					bound += fmt.Sprintf("/%d", w.GetStickyRunsMax())
				}
				t.add(plain(w.GetWorkerId()), cell{w.GetState(), phaseColor(w.GetState())}, plain(w.GetPool()),
					number(w.GetSlots()), number(w.GetRunning()), number(w.GetQueued()), plain(bound),
					plain(c.lasted(w.GetStartedAt(), nil)), plain(w.GetAddress()), plain(pairs(w.GetLabels())),
					plain(brief(strings.Join(w.GetWorkflows(), ","), 60)))
			}
			c.printTable(t)
			return nil
		}),
	}
}
