package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

func (c *cli) watchCommand() *cobra.Command {
	var o sdk.WatchOptions
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow what happens in the whole cluster",
		Long: `Follow what happens in the whole cluster until you interrupt: runs that start, are bound,
lose their worker and end; workers that join, drain, go and come back; servers. It goes on where it was
at another server if its own is lost. A gap says that things happened which no server knows any more.
--json prints one object a line.`,
		Example: `  limpet watch
  limpet watch --topic workers --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			conn.line = c.newProgress()
			defer conn.line.clear()
			for item, err := range conn.client.Watch(ctx, &o) {
				switch {
				case err != nil && ctx.Err() != nil:
					return context.Cause(ctx)
				case err != nil:
					return conn.explain(err)
				}
				conn.line.clear()
				if err := c.printNews(item); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringSliceVar(&o.Topics, "topic", nil, "only these: runs, workers, members")
	cmd.Flags().StringVar(&o.Position, "position", "", "go on after the item with this position, as --json shows it")
	return cmd
}

func (c *cli) printNews(n *api.WatchResponse) error {
	if c.json {
		return c.printJSONLine(n)
	}
	what := strings.Join(strings.Fields(strings.Join([]string{n.GetKind(), n.GetRunId(), n.GetWorkflow(), n.GetWorkerId(), n.GetReason().Words(), n.GetText()}, " ")), " ")
	if n.GetTopic() == api.TopicWatch {
		what += " " + n.GetServer()
	}
	at := n.GetAt().AsTime().In(c.zone).Format("15:04:05.000")
	c.out.printf("%s  %s %s\n", c.out.paint(dim, at), c.out.paint(cyan, fmt.Sprintf("%-7s", n.GetTopic())), what)
	return c.out.failed
}
