package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// pageMax is the largest page that the API gives.
const pageMax = 1000

func (c *cli) runListCommand() *cobra.Command {
	var (
		req      api.ListRunsRequest
		statuses []string
		since    time.Duration
		limit    int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Example: `  limpet run list
  limpet run list --workflow index-and-ask --status running,failed --since 24h
  limpet run list --roots --meta tenant=a
  limpet run list --worker gpu-1 --limit 1000 --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			if limit < 1 {
				return messages.Errorf(messages.CodeInvalidArgument, "--limit is %d, less than 1", limit)
			}
			if since < 0 {
				return messages.Errorf(messages.CodeInvalidArgument, "--since is %s, less than 0", since)
			}
			if req.Roots && req.ParentRun != "" {
				return messages.Errorf(messages.CodeInvalidArgument, "--roots and --parent cannot both be given: the children of a run are no roots")
			}
			var err error
			if req.Statuses, err = parseStatuses(statuses); err != nil {
				return err
			}
			if since > 0 {
				req.CreatedAfter = timestamppb.New(c.now().Add(-since))
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := listRuns(ctx, conn, &req, limit)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			c.printRuns(list)
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.Workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringSliceVar(&statuses, "status", nil, "only these: running, succeeded, failed, canceled, set-aside")
	cmd.Flags().StringVar(&req.WorkerId, "worker", "", "only running runs that are bound to the worker with this id")
	cmd.Flags().StringVar(&req.ParentRun, "parent", "", "only children of this run")
	cmd.Flags().BoolVar(&req.Roots, "roots", false, "only runs that no other run started")
	cmd.Flags().StringToStringVar(&req.Metadata, "meta", nil, "only runs with all these entries of metadata, as key=value; may be repeated")
	cmd.Flags().DurationVar(&since, "since", 0, "only runs created within this time, such as 90m or 24h")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	cmd.Flags().StringVar(&req.PageToken, "page-token", "", "go on where an earlier listing ended")
	c.completesFlag(cmd, "workflow", workflowNames(anyWorkflow))
	c.completesFlag(cmd, "worker", workerIDs())
	c.completesFlag(cmd, "parent", runIDs())
	c.completesFlag(cmd, "status", statusNames)
	return cmd
}

// listRuns gathers pages up to the limit.
func listRuns(ctx context.Context, conn *connection, req *api.ListRunsRequest, limit int) (*api.ListRunsResponse, error) {
	all := &api.ListRunsResponse{}
	for {
		req.PageSize = int32(min(limit-len(all.Runs), pageMax))
		page, err := call(ctx, conn, conn.ListRuns, req)
		if err != nil {
			return nil, err
		}
		all.Runs = append(all.Runs, page.GetRuns()...)
		all.NextPageToken = page.GetNextPageToken()
		if all.NextPageToken == "" || len(all.Runs) >= limit {
			return all, nil
		}
		req.PageToken = all.NextPageToken
	}
}

func parseStatuses(names []string) ([]messages.RunStatus, error) {
	var statuses []messages.RunStatus
	for _, name := range names {
		// Either as it is shown, or as the API has it.
		key := "RUN_STATUS_" + strings.TrimPrefix(strings.ToUpper(strings.ReplaceAll(name, "-", "_")), "RUN_STATUS_")
		n, ok := messages.RunStatus_value[key]
		if !ok || n == 0 {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "--status %q is not running, succeeded, failed, canceled or set-aside", name)
		}
		statuses = append(statuses, messages.RunStatus(n))
	}
	return statuses, nil
}

func (c *cli) printRuns(list *api.ListRunsResponse) {
	if len(list.GetRuns()) == 0 {
		c.err.printf("no runs\n")
		return
	}
	t := &table{header: []string{"RUN", "WORKFLOW", "STATUS", "STICKY", "WORKER", "EPOCH", "CREATED", "ENDED", "WAITS FOR OR FAILURE"}}
	for _, r := range list.GetRuns() {
		note := r.GetWaitingFor()
		if r.GetFailure() != nil {
			note = failureText(r.GetFailure())
		}
		t.add(plain(r.GetRunId()), plain(r.GetWorkflow()), statusCell(r.GetStatus()), plain(stickyName(r.GetSticky())),
			plain(r.GetWorkerId()), nonZero(r.GetEpoch()), plain(c.clock(r.GetCreatedAt())),
			plain(c.clock(r.GetFinishedAt())), plain(brief(note, 60)))
	}
	c.printTable(t)
	if list.GetNextPageToken() != "" {
		c.err.printf("there are more: raise --limit, or --page-token %s\n", list.GetNextPageToken())
	}
}
