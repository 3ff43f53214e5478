package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runAskCommand() *cobra.Command {
	var (
		arg     inputFlags
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "ask RUN QUERY",
		Short: "Ask the live state of a run, on the worker that it is bound to",
		Long: `Call a query of a run's workflow on the worker that the run is bound to, beside the
run's steps, and print its answer, which is JSON. Nothing of it enters the history.

If there is no answer, the code says at once why: NOT_BOUND, WORKER_AWAY, STATE_NOT_THERE,
UNKNOWN_QUERY, QUERY_FAILED or QUERY_PANICKED; QUERY_TIMED_OUT after the timeout.`,
		Example: `  limpet run ask 01k9w2c5m0 progress
  limpet run ask 01k9w2c5m0 lookup --arg '{"word":"func"}'
  limpet run ask 01k9w2c5m0 screenshot --timeout 20s --json   # also which worker has answered`,
		Args:              twoArgs("the id of a run", "the name of a query"),
		ValidArgsFunction: c.completesArg(runIDs(messages.RunStatus_RUN_STATUS_RUNNING)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			data, err := arg.read(c.in)
			if err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req := &api.AskRunRequest{RunId: args[0], Query: args[1], Arg: data, Timeout: durationpb.New(timeout)}
			answer, err := callWithin(ctx, timeout+callTimeout, conn, conn.AskRun, req)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(answer)
			}
			_, err = fmt.Fprintln(c.out.raw(), string(answer.GetAnswer()))
			return err
		}),
	}
	arg.add(cmd, "arg")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Duration(messages.DefaultQueryTimeoutMs)*time.Millisecond, "how long the answer may take, up to 60s")
	return cmd
}
