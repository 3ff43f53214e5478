package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) eventCommand() *cobra.Command {
	return group("event", "Push events, which start runs", c.eventPushCommand())
}

func (c *cli) eventPushCommand() *cobra.Command {
	var (
		payload inputFlags
		req     api.PushEventRequest
	)
	cmd := &cobra.Command{
		Use:   "push KEY",
		Short: "Push an event: one run of each workflow that wants it, durable when the command returns",
		Example: `  limpet event push user:create --payload '{"id":7}'
  limpet event push user:create --payload-file user.json --id user-7   # once, however often it is pushed`,
		Args: oneArg("the key of the event"),
		RunE: c.does(func(ctx context.Context, args []string) error {
			data, err := payload.read(c.in)
			if err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req.Key, req.Payload = args[0], data
			pushed, err := call(ctx, conn, conn.PushEvent, &req)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(pushed)
			}
			c.printPushed(args[0], pushed)
			return nil
		}),
	}
	payload.add(cmd, "payload")
	cmd.Flags().StringVar(&req.EventId, "id", "", "event id: a second push with the same id starts nothing new")
	cmd.Flags().StringToStringVar(&req.Metadata, "meta", nil, "metadata of the runs, as key=value; may be repeated")
	return cmd
}

func (c *cli) printPushed(key string, pushed *api.PushEventResponse) {
	c.out.printf("event %s pushed as %s\n", key, pushed.GetEventId())
	if len(pushed.GetRuns()) == 0 {
		c.out.printf("no workflow is triggered by it\n")
		return
	}
	t := &table{header: []string{"RUN", "WORKFLOW", "STARTED"}}
	for _, r := range pushed.GetRuns() {
		when := "now"
		if r.GetExisted() {
			when = "before"
		}
		t.add(plain(r.GetRunId()), plain(r.GetWorkflow()), plain(when))
	}
	c.printTable(t)
}
