package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workflowCommand() *cobra.Command {
	return group("workflow", "Look at workflows, choose their versions", c.workflowListCommand(), c.workflowVersionsCommand(), c.workflowUseCommand())
}

func (c *cli) workflowListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List workflows in their current version",
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
			t := &table{header: []string{"WORKFLOW", "VERSION", "CURRENT", "STICKY", "POOL", "EVENTS", "STEPS"}}
			for _, w := range list.GetWorkflows() {
				d := w.GetDefinition()
				t.add(plain(d.GetName()), plain(brief(w.GetHash(), versionShown)), plain(c.currentText(w.GetChosenAt())), plain(stickyName(d.GetSticky())),
					plain(messages.EffectivePool(d.GetPool())), plain(strings.Join(d.GetOnEvents(), " ")),
					plain(brief(stepsText(d.GetSteps()), 80)))
			}
			c.printTable(t)
			return nil
		}),
	}
}

// stepsText names the steps with their parents: load ask(load).
func stepsText(steps []*messages.StepDefinition) string {
	all := make([]string, len(steps))
	for i, s := range steps {
		all[i] = s.GetName()
		if len(s.GetParents()) > 0 {
			all[i] += "(" + strings.Join(s.GetParents(), ",") + ")"
		}
	}
	return strings.Join(all, " ")
}

// versionShown is how much of the hash of a version a table shows.
const versionShown = 12

// currentText says why a version is the current one.
func (c *cli) currentText(chosen *timestamppb.Timestamp) string {
	if chosen == nil {
		return "newest"
	}
	return "by hand, " + c.lasted(chosen, nil) + " ago"
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
		Args: oneArg("the name of a workflow"),
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
				t.add(plain(brief(v.GetHash(), versionShown)), plain(current), plain(c.lasted(v.GetRegisteredAt(), nil)+" ago"), number(v.GetWorkers()))
			}
			c.printTable(t)
			return nil
		}),
	}
}

func (c *cli) workflowUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "use WORKFLOW VERSION",
		Short: "Start new runs with a version of a workflow, to go back to it, say",
		Long: `Start new runs with a version of a workflow. VERSION is its hash, or how that begins. It stays
current until a version is registered that was never there before. Runs that have started
keep theirs. Other servers know of it within a second.`,
		Example: `  limpet workflow versions index
  limpet workflow use index 3f0c9a`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("want two arguments: the name of a workflow and the hash of a version, or how that begins")
			}
			return nil
		},
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			used, err := call(ctx, conn, conn.UseWorkflowVersion, &api.UseWorkflowVersionRequest{Workflow: args[0], Hash: strings.TrimSuffix(args[1], "…")})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(used.GetWorkflow())
			}
			c.out.printf("new runs of %s start with version %s\n", used.GetWorkflow().GetDefinition().GetName(), used.GetWorkflow().GetHash())
			return nil
		}),
	}
}
