package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

func (c *cli) runLogsCommand() *cobra.Command {
	var o sdk.LogOptions
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Show what a run's steps have logged",
		Long: `Show what a run's steps have logged by their contexts, and why attempts failed. The first
1,000 lines of an attempt are kept, up to 256 KiB, and as long as the run is.
--json prints one object a line, of some lines of one attempt.`,
		Example: `  limpet run logs 01k9w2c5m0
  limpet run logs 01k9w2c5m0 --step ask --follow`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			conn.line = c.newProgress()
			defer conn.line.clear()
			for chunk, err := range conn.client.Run(args[0]).Log(ctx, &o) {
				switch {
				case err != nil && ctx.Err() != nil:
					return context.Cause(ctx)
				case err != nil:
					return conn.explain(err)
				}
				conn.line.clear()
				if err := c.printChunk(chunk); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&o.Step, "step", "", "only of this step")
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "wait for more until the run has ended")
	cmd.Flags().Int64Var(&o.After, "after", 0, "leave out what is up to this place, as --json shows it")
	return cmd
}

func (c *cli) printChunk(r *api.ReadLogResponse) error {
	if c.json {
		return c.printJSONLine(r)
	}
	chunk := r.GetChunk()
	who := fmt.Sprintf("%s#%d", chunk.GetStep(), chunk.GetAttempt())
	if w := chunk.GetWorkerId(); w != "" {
		who += " " + w
	}
	for _, l := range chunk.GetLines() {
		at := time.UnixMicro(l.GetAtWallUs()).In(c.zone).Format("15:04:05.000")
		c.out.printf("%s  %s  %s %s\n", c.out.paint(dim, at), c.out.paint(cyan, who), c.out.paint(levelColor(l.GetLevel()), fmt.Sprintf("%-5s", l.GetLevel())), lineText(l))
	}
	if n := chunk.GetLeftOut(); n > 0 {
		c.out.printf("%s\n", c.out.paint(yellow, fmt.Sprintf("%s: %d lines more were left out", who, n)))
	}
	return c.out.failed
}

func lineText(l *messages.LogLine) string {
	text := l.GetMessage()
	if a := l.GetAttributes(); a != "" {
		text += "  " + a
	}
	if l.GetCut() {
		text += " … (cut)"
	}
	return text
}

func levelColor(level string) string {
	switch {
	case strings.HasPrefix(level, "ERROR"):
		return red
	case strings.HasPrefix(level, "WARN"):
		return yellow
	}
	return ""
}
