package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) workflowCommand() *cobra.Command {
	return group("workflow", "Look at workflows", c.workflowListCommand())
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
			t := &table{header: []string{"WORKFLOW", "VERSION", "STICKY", "POOL", "EVENTS", "STEPS"}}
			for _, w := range list.GetWorkflows() {
				d := w.GetDefinition()
				t.add(plain(d.GetName()), plain(brief(w.GetHash(), 12)), plain(stickyName(d.GetSticky())),
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
