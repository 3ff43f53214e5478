package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runCancelCommand() *cobra.Command {
	var (
		req  api.CancelRunRequest
		wait waitFlags
	)
	cmd := &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run and, unless they were spawned to go on, its children",
		Example: `  limpet run cancel 01k9w2c5m0 --reason "wrong corpus"
  limpet run cancel 01k9w2c5m0 --wait`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs(messages.RunStatus_RUN_STATUS_RUNNING)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req.RunId = args[0]
			done, err := call(ctx, conn, conn.CancelRun, &req)
			switch {
			case err != nil:
				return err
			case wait.wait:
				run, err := c.awaitRun(ctx, conn, args[0], wait.timeout)
				if err != nil {
					return err
				}
				if c.json {
					return c.printJSON(run)
				}
				c.printRun(run)
				return nil
			case c.json:
				return c.printJSON(done)
			}
			c.out.printf("run %s: cancel requested\n", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why; kept in the run's history")
	cmd.Flags().BoolVar(&req.WithoutEndStep, "without-end-step", false, "end without the workflow's end step; cancel that if it is executed")
	wait.add(cmd)
	cmd.Flags().Lookup("wait").Usage = "wait for the end of the run"
	return cmd
}
