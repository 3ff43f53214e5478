package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runReplayCommand() *cobra.Command {
	var (
		req  api.ReplayRunRequest
		wait waitFlags
	)
	cmd := &cobra.Command{
		Use:   "replay RUN",
		Short: "Run the steps of a finished run again, on whichever worker fits",
		Example: `  limpet run replay 01k9w2c5m0
  limpet run replay 01k9w2c5m0 --step ask --wait     # ask and what descends from it`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs(endedStatuses...)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req.RunId = args[0]
			done, err := call(ctx, conn, conn.ReplayRun, &req)
			switch {
			case err != nil:
				return err
			case wait.wait:
				return c.finish(ctx, conn, args[0], wait)
			case c.json:
				return c.printJSON(done)
			}
			what := "all steps"
			if len(req.GetSteps()) > 0 {
				what = strings.Join(req.GetSteps(), ", ") + " and what descends from them"
			}
			c.out.printf("run %s: replays %s\n", args[0], what)
			return nil
		}),
	}
	cmd.Flags().StringSliceVar(&req.Steps, "step", nil, "this step and what descends from it; may be repeated; none means all")
	c.completesFlag(cmd, "step", stepNames)
	wait.add(cmd)
	return cmd
}
