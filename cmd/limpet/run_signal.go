package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runSignalCommand() *cobra.Command {
	var (
		payload inputFlags
		req     api.SignalRunRequest
	)
	cmd := &cobra.Command{
		Use:   "signal RUN NAME",
		Short: "Put a message into a run's mailbox; it is durable when the command returns",
		Long: `Put a message into the mailbox of a run. A step receives it by its name, now or later:
nobody has to wait for it yet. Each message is received once, those of one name in order.
A run that has ended takes none.`,
		Example: `  limpet run signal 01k9w2c5m0 approval --payload '{"ok":true}'
  limpet run signal 01k9w2c5m0 approval --payload-file ok.json --id ticket-7   # once, however often it is sent`,
		Args:              twoArgs("the id of a run", "the name of a signal"),
		ValidArgsFunction: c.completesArg(runIDs(messages.RunStatus_RUN_STATUS_RUNNING)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			data, err := payload.read(c.in)
			if err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req.RunId, req.Name, req.Payload = args[0], args[1], data
			done, err := call(ctx, conn, conn.SignalRun, &req)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(done)
			}
			c.out.printf("run %s has signal %s\n", args[0], args[1])
			return nil
		}),
	}
	payload.add(cmd, "payload")
	cmd.Flags().StringVar(&req.MessageId, "id", "", "message id: sent again with the same id the run has it once")
	return cmd
}
