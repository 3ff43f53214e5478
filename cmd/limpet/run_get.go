package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runGetCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "get RUN",
		Short: "Show a run: its steps, bindings and children",
		Example: `  limpet run get 01k9w2c5m0
  limpet run get 01k9w2c5m0 --output ask        # only the JSON that step "ask" returned
  limpet run get 01k9w2c5m0 --json`,
		Args:              oneArg("the id of a run"),
		ValidArgsFunction: c.completesArg(runIDs()),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			run, err := call(ctx, conn, conn.GetRun, &api.GetRunRequest{RunId: args[0]})
			switch {
			case err != nil:
				return err
			case output != "":
				return c.printOutput(run, output)
			case c.json:
				return c.printJSON(run)
			}
			c.printRun(run)
			return nil
		}),
	}
	cmd.Flags().StringVar(&output, "output", "", "print only the output of this step, as JSON")
	c.completesFlag(cmd, "output", stepNames)
	return cmd
}

func (c *cli) printOutput(run *api.GetRunResponse, step string) error {
	var names []string
	for _, s := range run.GetSteps() {
		if s.GetName() != step {
			names = append(names, s.GetName())
			continue
		}
		if len(s.GetOutput()) == 0 {
			return noOutput(s)
		}
		_, err := fmt.Fprintln(c.out.raw(), string(s.GetOutput()))
		return err
	}
	return messages.Errorf(messages.CodeUnknownStep, "run %s has no step %q; it has %s", run.GetRun().GetRunId(), step, quoteAll(names))
}

// noOutput says why a step has none.
func noOutput(s *api.Step) error {
	if !api.PhaseEnded(s.GetPhase()) {
		return messages.Errorf(messages.CodeRunNotFinished, "step %q is %s and has no output yet", s.GetName(), s.GetPhase())
	}
	text := fmt.Sprintf("step %q is %s and has no output", s.GetName(), s.GetPhase())
	if s.GetFailure() != nil {
		text += ": " + failureText(s.GetFailure())
	}
	return messages.Errorf(messages.CodeStepFailed, "%s", text)
}

// printRun shows a run for eyes.
func (c *cli) printRun(r *api.GetRunResponse) {
	c.printSummary(r.GetRun())
	if len(r.GetSteps()) > 0 {
		c.out.printf("\n")
		c.printSteps(r.GetSteps())
	}
	if len(r.GetBindings()) > 0 {
		c.out.printf("\n")
		c.printBindings(r.GetBindings())
	}
	if len(r.GetChildren()) > 0 {
		c.out.printf("\n")
		t := &table{header: []string{"CHILD", "WORKFLOW", "STATUS", "STEP", "KEY", "STICKY"}}
		for _, k := range r.GetChildren() {
			sticky := ""
			if k.GetSticky() {
				sticky = "sticky"
			}
			t.add(plain(k.GetRunId()), plain(k.GetWorkflow()), childStatus(k), plain(k.GetStep()), plain(k.GetKey()), plain(sticky))
		}
		c.printTable(t)
	}
}

// childStatus is empty for a child that is not stored, or no more.
func childStatus(k *api.Child) cell {
	if k.GetStatus() == messages.RunStatus_RUN_STATUS_UNSPECIFIED {
		return cell{}
	}
	return statusCell(k.GetStatus())
}

// printBindings shows where a run was, when and why, and what became of its
// local state.
func (c *cli) printBindings(bindings []*api.BindingRecord) {
	t := &table{header: []string{"EPOCH", "WORKER", "FROM", "REASON", "AT", "UNTIL", "LOST", "REBUILT", "HANDED OFF", "ADDRESS", "INCARNATION"}}
	for _, b := range bindings {
		lost := b.GetLostReason().Words()
		if n := b.GetRestored(); n > 0 {
			lost = strings.TrimSpace(fmt.Sprintf("%s (back ×%d)", lost, n))
		}
		t.add(number(b.GetEpoch()), plain(b.GetWorkerId()), plain(b.GetFromWorker()), plain(b.GetReason().Words()),
			plain(c.moment(b.GetAt())), plain(c.moment(b.GetUntil())), plain(lost), plain(brief(rebuildsText(b.GetRebuilds()), 60)),
			plain(brief(handOffText(b.GetHandOff()), 60)), plain(b.GetAddress()), plain(b.GetIncarnation()))
	}
	c.printTable(t)
}

func rebuildsText(rebuilds []*api.Rebuild) string {
	all := make([]string, len(rebuilds))
	for i, r := range rebuilds {
		all[i] = r.GetStep()
		if r.GetEndedAt() == nil {
			all[i] += " (not done)"
		}
	}
	return strings.Join(all, ", ")
}

func handOffText(h *api.HandOff) string {
	var all []string
	for _, l := range h.GetLocals() {
		all = append(all, fmt.Sprintf("%s %s", l.GetName(), byteSize(l.GetBytes())))
	}
	if h.GetFailure() != nil {
		all = append(all, failureText(h.GetFailure()))
	}
	return strings.Join(all, ", ")
}

func (c *cli) printSummary(r *api.Run) {
	status := statusCell(r.GetStatus())
	c.field("run", r.GetRunId())
	c.field("workflow", r.GetWorkflow()+" (version "+brief(r.GetDefinitionHash(), 12)+")")
	c.field("status", c.out.paint(status.color, status.text))
	c.field("sticky", strings.TrimSpace(stickyName(r.GetSticky())))
	if r.GetWorkerId() != "" {
		c.field("worker", fmt.Sprintf("%s (epoch %d)", r.GetWorkerId(), r.GetEpoch()))
	}
	c.field("waits for", r.GetWaitingFor())
	c.field("failure", failureText(r.GetFailure()))
	c.field("started by", r.GetTrigger())
	c.field("parent", r.GetParentRun())
	c.field("created", c.clock(r.GetCreatedAt()))
	began := r.GetCreatedAt()
	if r.GetReplayedAt() != nil {
		began = r.GetReplayedAt()
		c.field("replayed", c.clock(began))
	}
	c.field("took", c.lasted(began, r.GetFinishedAt()))
	c.field("input", brief(string(r.GetInput()), 100))
	c.field("metadata", pairs(r.GetMetadata()))
}

func (c *cli) printSteps(steps []*api.Step) {
	t := &table{header: []string{"STEP", "PHASE", "WORKER", "ATTEMPTS", "FAILED", "LOST", "CALLS", "LAST CALL", "TOOK", "OUTPUT OR FAILURE"}}
	for _, s := range steps {
		outcome := string(s.GetOutput())
		if s.GetFailure() != nil {
			outcome = failureText(s.GetFailure())
		}
		t.add(plain(s.GetName()), cell{s.GetPhase(), phaseColor(s.GetPhase())}, plain(s.GetWorkerId()),
			number(s.GetAttempts()), nonZero(s.GetFailures()), nonZero(s.GetLost()),
			nonZero(s.GetCalls()), plain(s.GetLastCall()),
			plain(c.lasted(s.GetStartedAt(), s.GetEndedAt())), plain(brief(outcome, 60)))
	}
	c.printTable(t)
}

// pairs is a map as key=value, in the order of the keys.
func pairs(m map[string]string) string {
	all := make([]string, 0, len(m))
	for k, v := range m {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
