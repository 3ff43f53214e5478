package main

import (
	"context"
	"fmt"
	"maps"
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
	if says := r.GetRun().GetSentence(); says != "" {
		c.out.printf("%s\n\n", says)
	}
	c.printSummary(r.GetRun())
	c.field("unread", unreadText(r.GetUnreadSignals()))
	if len(r.GetSteps()) > 0 {
		c.out.printf("\n")
		c.printSteps(r.GetSteps())
	}
	c.printProgress(r.GetSteps())
	c.printWaits(r.GetSteps())
	if len(r.GetBindings()) > 0 {
		c.out.printf("\n")
		c.printBindings(r.GetBindings())
	}
	c.printLinks(r.GetLinks())
	c.printStreams(r.GetStreams())
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

// printLinks shows the chain of a run that went on as new.
func (c *cli) printLinks(links []*api.Link) {
	if len(links) == 0 {
		return
	}
	c.out.printf("\n")
	t := &table{header: []string{"LINK", "BEGAN", "ENTRY", "BY STEP"}}
	for _, l := range links {
		t.add(number(l.GetNumber()), plain(c.clock(l.GetBeganAt())), number(l.GetEntry()), plain(l.GetStep()))
	}
	c.printTable(t)
}

// printStreams shows what its steps have written to streams.
func (c *cli) printStreams(streams []*api.Stream) {
	if len(streams) == 0 {
		return
	}
	c.out.printf("\n")
	t := &table{header: []string{"STREAM", "PIECES", "BYTES", "SECTIONS", "STEP", "ATTEMPT", ""}}
	for _, s := range streams {
		open := ""
		if s.GetOpen() {
			open = "open"
		}
		t.add(plain(s.GetName()), number(s.GetPieces()), plain(byteSize(s.GetBytes())), number(s.GetSections()), plain(s.GetStep()), number(s.GetAttempt()), plain(open))
	}
	c.printTable(t)
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
	if n := r.GetContinued(); n > 0 {
		c.field("continued", fmt.Sprintf("%d times, last %s", n, c.clock(r.GetContinuedAt())))
	}
	c.field("took", c.lasted(began, r.GetFinishedAt()))
	c.field("input", briefly(r.GetInput(), 100))
	c.field("metadata", pairs(r.GetMetadata()))
}

func (c *cli) printSteps(steps []*api.Step) {
	t := &table{header: []string{"STEP", "PHASE", "WORKER", "ATTEMPTS", "FAILED", "LOST", "CALLS", "LAST CALL", "TOOK", "OUTPUT OR FAILURE"}}
	for _, s := range steps {
		outcome := briefly(s.GetOutput(), 60)
		if s.GetFailure() != nil {
			outcome = brief(failureText(s.GetFailure()), 60)
		}
		t.add(plain(s.GetName()), cell{s.GetPhase(), phaseColor(s.GetPhase())}, plain(s.GetWorkerId()),
			number(s.GetAttempts()), nonZero(s.GetFailures()), nonZero(s.GetLost()),
			nonZero(s.GetCalls()), plain(s.GetLastCall()),
			plain(c.lasted(s.GetStartedAt(), s.GetEndedAt())), plain(outcome))
	}
	c.printTable(t)
}

// printFailedConditions shows what is wrong with conditions of waits.
func (c *cli) printFailedConditions(steps []*api.Step) {
	for _, s := range steps {
		for _, w := range s.GetWaits() {
			if failed := w.GetConditionFailed(); failed != "" {
				c.out.printf("%s step %s, call %s %s: %s\n", c.out.paint(yellow, "condition:"), s.GetName(), w.GetName(), w.GetKey(), failed)
			}
		}
	}
}

// printProgress shows what steps have told of how far they are.
func (c *cli) printProgress(steps []*api.Step) {
	t := &table{header: []string{"PROGRESS OF STEP", "ATTEMPT", "AT", "PROGRESS"}}
	for _, s := range steps {
		if len(s.GetProgress()) > 0 {
			t.add(plain(s.GetName()), plain(fmt.Sprint(s.GetProgressAttempt())), plain(c.clock(s.GetProgressAt())), plain(briefly(s.GetProgress(), 80)))
		}
	}
	if len(t.rows) > 0 {
		c.out.printf("\n")
		c.printTable(t)
	}
}

// printWaits shows the calls of steps that wait.
func (c *cli) printWaits(steps []*api.Step) {
	t := &table{header: []string{"WAITS IN STEP", "CALL", "KIND", "SINCE", "UNTIL", "WAITS FOR"}}
	for _, s := range steps {
		for _, w := range s.GetWaits() {
			t.add(plain(s.GetName()), plain(w.GetName()+" "+w.GetKey()), plain(w.GetKind().Words()),
				plain(c.clock(w.GetSince())), plain(c.clock(w.GetUntil())), plain(brief(w.GetWaitingFor(), 80)))
		}
	}
	if len(t.rows) > 0 {
		c.out.printf("\n")
		c.printTable(t)
		c.printFailedConditions(steps)
	}
}

// unreadText counts the messages of a mailbox by their name.
func unreadText(unread map[string]int32) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(unread)) {
		all = append(all, fmt.Sprintf("%s ×%d", name, unread[name]))
	}
	return strings.Join(all, ", ")
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
