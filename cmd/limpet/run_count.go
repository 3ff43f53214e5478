package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runCountCommand() *cobra.Command {
	var req api.CountRunsRequest
	cmd := &cobra.Command{
		Use:   "count",
		Short: "Count runs by their status",
		Long: `Count runs by their status, up to 10,000 of each: of more it says that there are. Runs that
have ended are bound to no worker.`,
		Example: `  limpet run count
  limpet run count --by-workflow
  limpet run count --worker gpu-1 --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			counted, err := call(ctx, conn, conn.CountRuns, &req)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(counted)
			case len(counted.GetCounts()) == 0:
				c.err.printf("no runs\n")
				return nil
			}
			t := &table{header: []string{"WORKFLOW", "STATUS", "RUNS"}}
			if !req.ByWorkflow {
				t.header = t.header[1:]
			}
			for _, s := range counted.GetCounts() {
				runs := fmt.Sprint(s.GetRuns())
				if s.GetMore() {
					runs += "+"
				}
				row := []cell{plain(s.GetWorkflow()), statusCell(s.GetStatus()), plain(runs)}
				t.add(row[len(row)-len(t.header):]...)
			}
			c.printTable(t)
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.Workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringVar(&req.WorkerId, "worker", "", "only runs that are bound to the worker with this id")
	cmd.Flags().StringVar(&req.ParentRun, "parent", "", "only children of this run")
	cmd.Flags().BoolVar(&req.Roots, "roots", false, "only runs that no other run started")
	cmd.Flags().StringToStringVar(&req.Metadata, "meta", nil, "only runs with all these entries of metadata, as key=value; may be repeated")
	cmd.Flags().BoolVar(&req.ByWorkflow, "by-workflow", false, "count each workflow by itself")
	c.completesFlag(cmd, "workflow", workflowNames(anyWorkflow))
	c.completesFlag(cmd, "worker", workerIDs())
	c.completesFlag(cmd, "parent", runIDs())
	return cmd
}
