package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runAttemptsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "attempts RUN",
		Short: "Show each attempt of a run: where, when, how it ended; and when and why its steps waited",
		Example: `  limpet run attempts 01k9w2c5m0
  limpet run attempts 01k9w2c5m0 --json`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			attempts, err := call(ctx, conn, conn.ListAttempts, &api.ListAttemptsRequest{RunId: args[0]})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(attempts)
			}
			c.printAttempts(attempts)
			return nil
		}),
	}
}

func (c *cli) printAttempts(r *api.ListAttemptsResponse) {
	if n := r.GetLeftOut(); n > 0 {
		c.out.printf("%d earlier attempts are left out\n", n)
	}
	if len(r.GetAttempts()) == 0 {
		c.out.printf("no step has been sent to a worker\n")
	} else {
		t := &table{header: []string{"STEP", "ATTEMPT", "WORKER", "EPOCH", "READY", "SENT", "STARTED", "ENDED", "OUTCOME", "WHY", "INCARNATION"}}
		for _, a := range r.GetAttempts() {
			t.add(plain(a.GetStep()), number(a.GetNumber()), plain(a.GetWorkerId()), number(a.GetEpoch()), plain(c.moment(a.GetReadyAt())), plain(c.moment(a.GetSentAt())),
				plain(c.moment(a.GetStartedAt())), plain(c.moment(a.GetEndedAt())), plain(a.GetOutcome()), plain(brief(attemptWhy(a), 60)), plain(a.GetIncarnation()))
		}
		c.printTable(t)
	}
	if len(r.GetWaits()) == 0 {
		return
	}
	c.out.printf("\n")
	t := &table{header: []string{"STEP", "ATTEMPT", "WAITED FROM", "UNTIL", "REASON", "FOR"}}
	for _, w := range r.GetWaits() {
		t.add(plain(w.GetStep()), number(w.GetAttempt()), plain(c.moment(w.GetFrom())), plain(c.untilNow(w.GetUntil())), plain(w.GetReason()), plain(brief(w.GetWaitingFor(), 60)))
	}
	c.printTable(t)
}

// attemptWhy is why an attempt ended as it did.
func attemptWhy(a *api.Attempt) string {
	why := a.GetWhy()
	if refused := a.GetResultRefused(); refused != "" {
		why += "; a late result was refused: " + refused
	}
	return why
}

// untilNow is a moment, or says that it goes on.
func (c *cli) untilNow(t *timestamppb.Timestamp) string {
	if t == nil {
		return "now"
	}
	return c.moment(t)
}
