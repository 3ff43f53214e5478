package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runWatchCommand() *cobra.Command {
	var after uint64
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run's events until it ends",
		Long: `Follow a run's events from the first until it ends. A lost server is waited for.
Exit code 7 if the run did not succeed. --json prints one object a line.`,
		Example: `  limpet run watch 01k9w2c5m0
  limpet run watch 01k9w2c5m0 --after 12 --json`,
		Args: oneArg("the id of a run"),
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

// watch prints entries until the run has ended, and asks again where it was
// when the server goes away.
func (c *cli) watch(ctx context.Context, conn *connection, runID string, after uint64) error {
	line := c.newProgress()
	defer line.clear()
	seen, lost := false, false
	for {
		err := c.watchOnce(ctx, conn, runID, &after, func() {
			line.clear()
			seen, lost = true, false
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !seen || !again(err):
			return err
		}
		if !lost && !c.errTerminal {
			fmt.Fprintln(c.err, "server not reachable, trying again")
		}
		lost = true
		line.say("server not reachable, trying again")
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (c *cli) watchOnce(ctx context.Context, conn *connection, runID string, after *uint64, received func()) error {
	stream, err := conn.WatchRun(ctx, connect.NewRequest(&api.WatchRunRequest{RunId: runID, AfterEntry: *after}))
	if err != nil {
		return conn.explain(err)
	}
	defer stream.Close()
	for stream.Receive() {
		received()
		*after = stream.Msg().GetEntry()
		if err := c.printEntry(stream.Msg()); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return conn.explain(err)
	}
	return nil
}

func (c *cli) printEntry(e *api.WatchRunResponse) error {
	if c.json {
		return c.printJSONLine(e)
	}
	at := e.GetAt().AsTime().In(c.zone).Format("15:04:05.000")
	for i, event := range e.GetEvents() {
		number := fmt.Sprintf("#%d", e.GetEntry())
		if i > 0 {
			number = ""
		}
		what, color := eventText(event)
		if _, err := fmt.Fprintf(c.out, "%s  %-4s %s\n", c.paintOut(dim, at), number, c.paintOut(color, what)); err != nil {
			return err
		}
	}
	return nil
}
