package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workflowUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "use WORKFLOW VERSION",
		Short: "Start new runs with a version of a workflow, to go back to it, say",
		Long: `Start new runs with a version of a workflow. VERSION is its hash, or how that begins. It stays
current until a version is registered that was never there before. Runs that have started
keep theirs. Other servers know of it within a second.

A version is the definition: steps, options, schema. The code of a step is that of the worker
that runs it, and any worker with a step of that name may: to go back to old code, start its
workers and stop the others.`,
		Example: `  limpet workflow versions index
  limpet workflow use index 3f0c9a`,
		ValidArgsFunction: c.completes(workflowVersions),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("want two arguments: the name of a workflow and the hash of a version, or how that begins")
			}
			return nil
		},
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			got, err := call(ctx, conn, conn.UseWorkflowVersion, &api.UseWorkflowVersionRequest{Workflow: args[0], Hash: strings.TrimSuffix(args[1], "…")})
			if err != nil {
				return err
			}
			return c.printChanged(got.GetWorkflow(), "starts new runs with version "+got.GetWorkflow().GetHash())
		}),
	}
}

func (c *cli) workflowRetireCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retire WORKFLOW",
		Short: "Let a workflow start no new runs",
		Long: `Let a workflow start no new runs, until ` + "`limpet workflow restore`" + `, whatever workers register.
Starts and spawns are refused with WORKFLOW_RETIRED, events start none of it and say so. Runs
that there are go on, and may be replayed. Other servers know of it within a second.`,
		Example: `  limpet workflow retire index
  limpet workflow restore index`,
		Args:              oneArg("the name of a workflow"),
		ValidArgsFunction: c.completesArg(workflowNames(startsRuns)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			got, err := call(ctx, conn, conn.RetireWorkflow, &api.RetireWorkflowRequest{Workflow: args[0]})
			if err != nil {
				return err
			}
			return c.printChanged(got.GetWorkflow(), "is retired and starts no new runs")
		}),
	}
}

func (c *cli) workflowRestoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "restore WORKFLOW",
		Short:             "Let a workflow that was retired start new runs again",
		Example:           "  limpet workflow restore index",
		Args:              oneArg("the name of a workflow"),
		ValidArgsFunction: c.completesArg(workflowNames(startsNoRuns)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			got, err := call(ctx, conn, conn.RestoreWorkflow, &api.RestoreWorkflowRequest{Workflow: args[0]})
			if err != nil {
				return err
			}
			return c.printChanged(got.GetWorkflow(), "starts new runs")
		}),
	}
}

// printChanged shows what has become of a workflow.
func (c *cli) printChanged(w *api.Workflow, words string) error {
	if c.json {
		return c.printJSON(w)
	}
	c.out.printf("workflow %s %s\n", w.GetDefinition().GetName(), words)
	return nil
}
