package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workflowCommand() *cobra.Command {
	return group("workflow", "Look at workflows, choose their versions, retire them", c.workflowListCommand(), c.workflowVersionsCommand(),
		c.workflowUseCommand(), c.workflowRetireCommand(), c.workflowRestoreCommand())
}

func (c *cli) workflowListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List workflows in their current version",
		Long: `List workflows in the version that new runs start with. SERVED BY are the workers that take
new runs of it, as the server sees them. One that nobody has served for a day (--unserved-after
of the server) is left out of events until a worker serves it again.`,
		Example: `  limpet workflow list
  limpet workflow list --json      # with steps, labels and input schemas`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := call(ctx, conn, conn.ListWorkflows, &api.ListWorkflowsRequest{})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			case len(list.GetWorkflows()) == 0:
				c.err.printf("no workflows: they come with the first worker that registers them\n")
				return nil
			}
			t := &table{header: []string{"WORKFLOW", "VERSION", "CURRENT", "SERVED BY", "RETIRED", "STICKY", "POOL", "EVENTS", "STEPS"}}
			for _, w := range list.GetWorkflows() {
				d := w.GetDefinition()
				t.add(plain(d.GetName()), plain(brief(w.GetHash(), versionShown)), plain(c.currentText(w.GetChosenAt())), plain(c.servedText(w)), plain(c.ago(w.GetRetiredAt())), plain(stickyName(d.GetSticky())),
					plain(messages.EffectivePool(d.GetPool())), plain(strings.Join(d.GetOnEvents(), " ")),
					plain(brief(stepsText(d.GetSteps()), 80)))
			}
			c.printTable(t)
			return nil
		}),
	}
}

// stepsText names the steps with their parents, and the end step with what it is for:
// load ask(load) tidy(on end: failed, canceled).
func stepsText(steps []*messages.StepDefinition) string {
	all := make([]string, len(steps))
	for i, s := range steps {
		all[i] = s.GetName()
		if len(s.GetParents()) > 0 {
			all[i] += "(" + strings.Join(s.GetParents(), ",") + ")"
		}
		if s.IsEndStep() {
			all[i] += "(on end: " + strings.Join(outcomeNames(s.GetOnEnd()), ", ") + ")"
		}
	}
	return strings.Join(all, " ")
}

func outcomeNames(statuses []messages.RunStatus) []string {
	names := make([]string, len(statuses))
	for i, s := range statuses {
		names[i] = statusName(s)
	}
	return names
}

// versionShown is how much of the hash of a version a table shows.
const versionShown = 12

// currentText says why a version is the current one.
func (c *cli) currentText(chosen *timestamppb.Timestamp) string {
	if chosen == nil {
		return "newest"
	}
	return "by hand, " + c.ago(chosen)
}

// ago says how long ago something was; empty if it is not set.
func (c *cli) ago(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return c.lasted(at, nil) + " ago"
}

// servedText says who serves a workflow.
func (c *cli) servedText(w *api.Workflow) string {
	switch n := w.GetWorkers(); {
	case n == 1:
		return "1 worker"
	case n > 1:
		return fmt.Sprintf("%d workers", n)
	case w.GetLeftOutSince() != nil:
		return "nobody for " + c.lasted(w.GetUnservedSince(), nil) + ", no events"
	case w.GetUnservedSince() != nil:
		return "nobody for " + c.lasted(w.GetUnservedSince(), nil)
	}
	return "nobody"
}

func (c *cli) workflowVersionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "versions WORKFLOW",
		Short: "List the versions of a workflow, the newest first",
		Long: `List the versions of a workflow, at most 1,000, the newest first. WORKERS are those with
the version that take new runs. New runs start with the current version: the newest, or one
that was chosen with ` + "`limpet workflow use`" + `. A version is as new as the process that registered it
first: an old process that comes back does not bring its version back.`,
		Example: `  limpet workflow versions index
  limpet workflow versions index --json     # with whole hashes`,
		Args:              oneArg("the name of a workflow"),
		ValidArgsFunction: c.completesArg(workflowNames(anyWorkflow)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := call(ctx, conn, conn.ListWorkflowVersions, &api.ListWorkflowVersionsRequest{Workflow: args[0]})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			}
			t := &table{header: []string{"VERSION", "CURRENT", "REGISTERED", "WORKERS"}}
			for _, v := range list.GetVersions() {
				current := ""
				if v.GetCurrent() {
					current = c.currentText(v.GetChosenAt())
				}
				t.add(plain(brief(v.GetHash(), versionShown)), plain(current), plain(c.ago(v.GetRegisteredAt())), number(v.GetWorkers()))
			}
			c.printTable(t)
			return nil
		}),
	}
}
