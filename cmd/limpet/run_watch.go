package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runWatchCommand() *cobra.Command {
	var after uint64
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run's events until it ends",
		Long: `Follow a run's events from the first until it ends. It goes on at another server, or
when there is one again, if its own is lost.
Exit code 7 if the run did not succeed. --json prints one object a line.`,
		Example: `  limpet run watch 01k9w2c5m0
  limpet run watch 01k9w2c5m0 --after 12 --json`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			if err := c.watch(ctx, conn, args[0], after); err != nil {
				return err
			}
			run, err := call(ctx, conn, conn.GetRun, &api.GetRunRequest{RunId: args[0]})
			if err != nil {
				return err
			}
			return endOf(run.GetRun())
		}),
	}
	cmd.Flags().Uint64Var(&after, "after", 0, "leave out the entries up to this number")
	return cmd
}

// watch prints entries until the run has ended. The client goes on at another
// server where one goes away.
func (c *cli) watch(ctx context.Context, conn *connection, runID string, after uint64) error {
	conn.line = c.newProgress()
	defer conn.line.clear()
	for entry, err := range conn.client.Run(runID).Watch(ctx, after) {
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return conn.explain(err)
		}
		conn.line.clear()
		if cut := entry.GetEntry() - 1; cut > after && !c.json {
			c.out.printf("%s\n", c.out.paint(dim, fmt.Sprintf("(entries %d to %d were deleted: the run went on as new)", after+1, cut)))
		}
		if err := c.printEntry(entry); err != nil {
			return err
		}
		after = entry.GetEntry()
	}
	return nil
}

func (c *cli) printEntry(e *api.WatchRunResponse) error {
	if c.json {
		return c.printJSONLine(e)
	}
	words := eventWords{e.GetAt().AsTime().In(c.zone)}
	at := words.at.Format("15:04:05.000")
	for i, event := range e.GetEvents() {
		number := fmt.Sprintf("#%d", e.GetEntry())
		if i > 0 {
			number = ""
		}
		what, color := words.text(event)
		c.out.printf("%s  %-4s %s\n", c.out.paint(dim, at), number, c.out.paint(color, what))
	}
	return c.out.failed
}
