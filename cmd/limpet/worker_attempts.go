package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workerAttemptsCommand() *cobra.Command {
	var (
		since, until time.Duration
		limit        int
		token        string
	)
	cmd := &cobra.Command{
		Use:   "attempts WORKER",
		Short: "Show the attempts that a worker had, of whatever runs",
		Long: `Show the attempts that a worker had in a time, of whatever runs: those of the runs that are
bound to it first, then those of others, the newest runs first.`,
		Example: `  limpet worker attempts gpu-1
  limpet worker attempts gpu-1 --since 2h --until 1h --limit 1000 --json`,
		Args:              oneArg("the id of a worker"),
		ValidArgsFunction: c.completesArg(workerIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			switch {
			case limit < 1:
				return messages.Errorf(messages.CodeInvalidArgument, "--limit is %d, less than 1", limit)
			case since <= until || until < 0:
				return messages.Errorf(messages.CodeInvalidArgument, "--since %s and --until %s: the former is to be longer ago, and none less than 0", since, until)
			}
			req := &api.ListAttemptsRequest{WorkerId: args[0], From: timestamppb.New(c.now().Add(-since)), PageToken: token}
			if until > 0 {
				req.To = timestamppb.New(c.now().Add(-until))
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			all, err := workerAttempts(ctx, conn, req, limit)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(all)
			}
			c.printWorkerAttempts(all)
			return nil
		}),
	}
	cmd.Flags().DurationVar(&since, "since", time.Hour, "only those that were live within this time")
	cmd.Flags().DurationVar(&until, "until", 0, "only those that began longer ago than this")
	cmd.Flags().IntVar(&limit, "limit", 50, "about how many at most: those of a run stay together")
	cmd.Flags().StringVar(&token, "page-token", "", "go on where an earlier listing ended")
	return cmd
}

// workerAttempts gathers pages up to the limit.
func workerAttempts(ctx context.Context, conn *connection, req *api.ListAttemptsRequest, limit int) (*api.ListAttemptsResponse, error) {
	all := &api.ListAttemptsResponse{}
	for {
		req.PageSize = int32(min(limit-len(all.Attempts), pageMax))
		page, err := call(ctx, conn, conn.ListAttempts, req)
		if err != nil {
			return nil, err
		}
		all.Attempts = append(all.Attempts, page.GetAttempts()...)
		all.NextPageToken = page.GetNextPageToken()
		if all.NextPageToken == "" || len(all.Attempts) >= limit {
			return all, nil
		}
		req.PageToken = all.NextPageToken
	}
}

func (c *cli) printWorkerAttempts(r *api.ListAttemptsResponse) {
	if len(r.GetAttempts()) == 0 {
		c.err.printf("no attempts\n")
	} else {
		t := &table{header: []string{"RUN", "WORKFLOW", "STEP", "ATTEMPT", "SENT", "STARTED", "ENDED", "OUTCOME", "WHY", "INCARNATION"}}
		for _, a := range r.GetAttempts() {
			t.add(plain(a.GetRunId()), plain(a.GetWorkflow()), plain(a.GetStep()), number(a.GetNumber()), plain(c.moment(a.GetSentAt())),
				plain(c.moment(a.GetStartedAt())), plain(c.moment(a.GetEndedAt())), plain(a.GetOutcome()), plain(brief(attemptWhy(a), 60)), plain(a.GetIncarnation()))
		}
		c.printTable(t)
	}
	if r.GetNextPageToken() != "" {
		c.err.printf("there may be more: raise --limit, or --page-token %s\n", r.GetNextPageToken())
	}
}

// printWorkerEvents shows what became of a worker.
func (c *cli) printWorkerEvents(events []*api.WorkerEvent) {
	if len(events) == 0 {
		return
	}
	c.out.printf("\n")
	t := &table{header: []string{"AT", "EVENT", "REASON", "WHAT", "INCARNATION"}}
	for _, e := range events {
		t.add(plain(c.clock(e.GetAt())), plain(e.GetKind()), plain(e.GetReason().Words()), plain(brief(e.GetText(), 80)), plain(e.GetIncarnation()))
	}
	c.printTable(t)
}
