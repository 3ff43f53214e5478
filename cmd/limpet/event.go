package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) eventCommand() *cobra.Command {
	return group("event", "Push events, which start runs and come to steps that wait for them", c.eventPushCommand(), c.eventListCommand())
}

func (c *cli) eventPushCommand() *cobra.Command {
	var (
		payload inputFlags
		req     api.PushEventRequest
	)
	cmd := &cobra.Command{
		Use:   "push KEY",
		Short: "Push an event: one run of each workflow that wants it, durable when the command returns",
		Long: `Push an event. It is kept for a while, comes to the steps that wait for it, and starts one run of each workflow that has the key among its events and
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
	if n := pushed.GetWaits(); n > 0 {
		c.out.printf("calls of steps that waited for it: %d\n", n)
	}
	for _, f := range pushed.GetFailedConditions() {
		c.out.printf("it does not fit step %q of run %s, call %s: the condition %s cannot be evaluated: %s\n", f.GetStep(), f.GetRunId(), f.GetCall(), f.GetCondition(), f.GetMessage())
	}
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

func (c *cli) eventListCommand() *cobra.Command {
	var (
		req   api.ListEventsRequest
		since time.Duration
		limit int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the events that are kept, in the order in which they were pushed",
		Long: `List the events that are kept, in the order in which they were pushed. How long that is says
--events-kept of the server. Payloads are in --json.`,
		Example: `  limpet event list --key 'user:*' --since 10m`,
		Args:    cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			if limit <= 0 || since < 0 {
				return messages.Errorf(messages.CodeInvalidArgument, "--limit %d and --since %v: must be above 0, and 0 or more", limit, since)
			}
			if since > 0 {
				req.Since = timestamppb.New(time.Now().Add(-since))
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := listEvents(ctx, conn, &req, limit)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			}
			c.printEvents(list)
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.Key, "key", "", "only events with this key, or with a prefix and *")
	cmd.Flags().DurationVar(&since, "since", 0, "only events that were pushed within this time, such as 10m")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	cmd.Flags().StringVar(&req.PageToken, "page-token", "", "go on where an earlier listing ended")
	return cmd
}

// listEvents gathers pages up to the limit.
func listEvents(ctx context.Context, conn *connection, req *api.ListEventsRequest, limit int) (*api.ListEventsResponse, error) {
	all := &api.ListEventsResponse{}
	for {
		req.PageSize = int32(min(limit-len(all.Events), pageMax))
		page, err := call(ctx, conn, conn.ListEvents, req)
		if err != nil {
			return nil, err
		}
		all.Events = append(all.Events, page.GetEvents()...)
		all.NextPageToken = page.GetNextPageToken()
		if all.NextPageToken == "" || len(all.Events) >= limit {
			return all, nil
		}
		req.PageToken = all.NextPageToken
	}
}

func (c *cli) printEvents(list *api.ListEventsResponse) {
	if len(list.GetEvents()) == 0 {
		c.err.printf("no events\n")
		return
	}
	t := &table{header: []string{"PUSHED", "KEY", "EVENT", "BYTES"}}
	for _, e := range list.GetEvents() {
		t.add(plain(c.clock(e.GetPushedAt())), plain(e.GetKey()), plain(e.GetEventId()), plain(strconv.Itoa(len(e.GetPayload()))))
	}
	c.printTable(t)
	if token := list.GetNextPageToken(); token != "" {
		c.err.printf("there are more: raise --limit, or --page-token %s\n", token)
	}
}
