package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
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
		Long: `Push an event. It starts one run of each workflow that has the key among its events and
whose input schema the payload fits. The others with the key are listed, and why each starts
none: its schema refuses the payload, it is retired, or no worker has served it for long. If
all do, the exit code is 2, or 4 if the payload fits. If there is no workflow with the key, it
is 0.`,
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
				err = c.printJSON(pushed)
			default:
				c.printPushed(args[0], pushed)
			}
			return errors.Join(err, allRefused(args[0], pushed))
		}),
	}
	payload.add(cmd, "payload")
	cmd.Flags().StringVar(&req.EventId, "id", "", "event id: a second push with the same id starts nothing new")
	cmd.Flags().StringToStringVar(&req.Metadata, "meta", nil, "metadata of the runs, as key=value; may be repeated")
	return cmd
}

// allRefused is the error of an event that every workflow with its key refuses.
func allRefused(key string, pushed *api.PushEventResponse) error {
	refused := pushed.GetRefused()
	if len(refused) == 0 || len(pushed.GetRuns()) > 0 {
		return nil
	}
	names := make([]string, len(refused))
	code := messages.Code(refused[0].GetFailure().GetCode())
	for i, r := range refused {
		names[i] = r.GetWorkflow()
		if r.GetFailure().GetCode() == string(messages.CodeInvalidInput) {
			code = messages.CodeInvalidInput
		}
	}
	return messages.Errorf(code, "event %q started nothing: it is refused by every workflow that has it among its events: %s", key, strings.Join(names, ", "))
}

func (c *cli) printPushed(key string, pushed *api.PushEventResponse) {
	c.out.printf("event %s pushed as %s\n", key, pushed.GetEventId())
	if len(pushed.GetRuns())+len(pushed.GetRefused()) == 0 {
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
	if len(pushed.GetRuns()) > 0 {
		c.printTable(t)
	}
	if len(pushed.GetRefused()) == 0 {
		return
	}
	refusing := &table{header: []string{"WORKFLOW", "REFUSED IT"}}
	for _, r := range pushed.GetRefused() {
		refusing.add(plain(r.GetWorkflow()), plain(failureText(r.GetFailure())))
	}
	c.printTable(refusing)
}
