package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) auditCommand() *cobra.Command {
	var req api.ListAuditRequest
	var since time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who did what by the API, and what was refused",
		Long: `List what was done by the API, the newest first: each command, each login to the
dashboard and each refusal, with who it was, from where, and the code of what failed. What
is only looked at is not in it. Like ones within half a second are one, with a count.

It is kept for 90 days, and has the newest 1,000,000 records. With --json each is a line.`,
		Example: `  limpet audit --since 24h --failed
  limpet audit --action CancelRun --target 01m8rts2cbvv5ccra5hp0vg80g
  limpet audit --since 2160h --limit 1000000 --json > audit.jsonl`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			if limit <= 0 || since < 0 {
				return messages.Errorf(messages.CodeInvalidArgument, "--limit %d and --since %v: must be above 0, and 0 or more", limit, since)
			}
			if since > 0 {
				req.Since = timestamppb.New(c.now().Add(-since))
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			return c.printAudit(ctx, conn, &req, limit)
		}),
	}
	cmd.Flags().StringVar(&req.Who, "who", "", "only what this token did, by its id, or secret, local or anonymous")
	cmd.Flags().StringVar(&req.Action, "action", "", "only this procedure, such as CancelRun")
	cmd.Flags().StringVar(&req.Target, "target", "", "only what was done to this run, workflow, worker, event key or token")
	cmd.Flags().BoolVar(&req.Failed, "failed", false, "only what was refused or failed")
	cmd.Flags().DurationVar(&since, "since", 0, "only what was done within this time, such as 24h")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most")
	return cmd
}

// printAudit prints page after page up to the limit: lines as they come, or a table.
func (c *cli) printAudit(ctx context.Context, conn *connection, req *api.ListAuditRequest, limit int) error {
	t := &table{header: []string{"AT", "WHO", "NAME", "FROM", "ACTION", "TARGET", "COUNT", "OUTCOME", "SERVER"}}
	for left := limit; left > 0; {
		req.PageSize = int32(min(left, pageMax))
		page, err := call(ctx, conn, conn.ListAudit, req)
		if err != nil {
			return err
		}
		entries := page.GetEntries()[:min(left, len(page.GetEntries()))]
		left -= len(entries)
		for _, e := range entries {
			if c.json {
				if err := c.printJSONLine(e); err != nil {
					return err
				}
				continue
			}
			t.add(plain(c.clock(e.GetAt())), plain(orDefault(e.GetWho(), "many")), plain(e.GetName()), plain(e.GetFrom()), plain(e.GetAction()), plain(targetText(e)), number(e.GetCount()),
				plain(orDefault(e.GetCode(), "done")), plain(e.GetServer()))
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	switch {
	case c.json:
	case len(t.rows) == 0:
		c.err.printf("nothing was done\n")
	default:
		c.printTable(t)
	}
	return nil
}

// targetText says what it was done to, and how many there were besides.
func targetText(e *api.AuditEntry) string {
	if more := e.GetTargets() - e.GetCount(); more > 0 {
		return fmt.Sprintf("%s and %d more", e.GetTarget(), more)
	}
	return e.GetTarget()
}
